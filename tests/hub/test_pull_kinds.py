"""Models and datasets from repos of others: told by their files, refused before a byte is fetched, never half there."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hub import Registry, Version, open_registry
from medley.errors import HubError, StorageError, UserError
from medley.jobs.pull import pull
from tests.hub.adapters import adapter_files
from tests.hub.models import SHARDS, model_config, model_files, sharded_files
from tests.hub_server import HubServer

ROOT = Path(__file__).resolve().parents[2]
ROWS = b"".join(json.dumps({"instruction": f"Say {n}.", "output": f"{n}!"}).encode() + b"\n" for n in range(20))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.remote_errors.FIRST_PAUSE_S", 0.01)


def run(registry: Registry, server: HubServer, **settings: Any) -> Version:
    return pull(registry, "ada/thing", "back", endpoint=server.url, **settings)


def failure(registry: Registry, server: HubServer, **settings: Any) -> str:
    """The sentence; no version and nothing of the files is there afterwards."""
    with pytest.raises(UserError) as caught:
        run(registry, server, **settings)
    assert registry.list() == []
    assert registry.verify().unreferenced == []
    assert os.listdir(registry.home / "store" / "tmp") == []
    return str(caught.value)


def fetched(server: HubServer) -> set[str]:
    return {seen.path.rpartition("/")[2] for seen in server.calls("GET", "/resolve/")}


def test_a_model_is_told_by_its_files(registry: Registry, hub_server: HubServer) -> None:
    extra = {
        "README.md": b"---\nlicense: apache-2.0\n---\n",
        "pytorch_model.bin": b"\x80\x04x",
        "onnx/model.onnx": b"x",
    }
    repo = hub_server.store.add_repo("ada/thing", sharded_files() | extra)
    texts: list[str] = []
    version = run(registry, hub_server, emit=lambda kind, **fields: texts.append(fields["text"]))
    assert (version.kind, version.base, version.recipe) == ("model", None, None)
    assert {path.name for path in version.path.iterdir()} == {*sharded_files(), "README.md"}
    assert version.metadata["source"] == f"ada/thing@{repo.head().oid}"
    assert (version.metadata["licence"], version.metadata["architecture"]) == ("apache-2.0", "LlamaForCausalLM")
    assert texts[0] == "Left out: .gitattributes, onnx/, pytorch_model.bin."
    assert fetched(hub_server) == {*sharded_files(), "README.md"}


def test_rows_of_others_go_through_the_import(registry: Registry, hub_server: HubServer) -> None:
    repo = hub_server.store.add_repo("ada/thing", {"data/train.jsonl": ROWS, "README.md": b"# Hi\n"}, kind="dataset")
    version = run(registry, hub_server)
    assert (version.kind, version.metadata["rows"], version.metadata["splits"]) == (
        "dataset",
        20,
        {"train": 18, "eval": 2},
    )
    assert version.metadata["source"] == f"ada/thing@{repo.head().oid}"
    assert version.recipe == f"import:\n  hub_id: ada/thing\n  split: null\n  revision: {repo.head().oid}\n"
    assert sorted(path.name for path in version.path.iterdir()) == ["dataset.json", "eval.jsonl", "train.jsonl"]


def test_a_model_and_a_dataset_of_one_name(registry: Registry, hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/thing", model_files())
    hub_server.store.add_repo("ada/thing", {"train.jsonl": ROWS}, kind="dataset")
    assert run(registry, hub_server).kind == "model"
    assert pull(registry, "ada/thing", "rows", kind="dataset", endpoint=hub_server.url).kind == "dataset"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "adapter",
            "'ada/thing' cannot be imported: 'config.json' is not part of an adapter. Remove it or leave it out.",
        ),
        ("dataset", "The Hub shows no repo ada/thing. Check the name; a private one needs a token that may see it."),
    ],
)
def test_a_kind_that_it_is_not(registry: Registry, hub_server: HubServer, kind: str, sentence: str) -> None:
    files = {"config.json": model_config(), "tokenizer.json": b"{}"}
    hub_server.store.add_repo("ada/thing", files)
    assert failure(registry, hub_server, kind=kind) == sentence
    assert fetched(hub_server) == set()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            {"modeling_x.py": b"x"},
            "'ada/thing' cannot be imported: 'modeling_x.py' is code, which a model does not need. ",
        ),
        (
            {"extra/x": b"x"},
            "'ada/thing' cannot be imported: 'extra/x' is not part of a model. Remove it or leave it out.",
        ),
        (
            {"LICENSE": b"x" * 1_100_000},
            "'ada/thing' cannot be imported: 'LICENSE' has 1,100,000 bytes; at most 1,048,576",
        ),
    ],
)
def test_what_no_model_needs_is_refused_unseen(
    registry: Registry, hub_server: HubServer, files: dict[str, bytes], sentence: str
) -> None:
    hub_server.store.add_repo("ada/thing", model_files() | files)
    assert failure(registry, hub_server).startswith(sentence)
    assert fetched(hub_server) == set()


def test_a_model_without_weights_is_not_fetched(registry: Registry, hub_server: HubServer) -> None:
    files = model_files()
    del files["model.safetensors"]
    hub_server.store.add_repo("ada/thing", files)
    assert failure(registry, hub_server) == "ada/thing is not a model: it has no model.safetensors."
    assert fetched(hub_server) == set()


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize(
    "path", ["../../x.json", "/etc/cron.d/x", "a/../../b", "model-00001-of-00002.safetensors/../x"]
)
def test_evil_paths_in_the_tree(registry: Registry, hub_server: HubServer, kind: str, path: str) -> None:
    ours = {"train.jsonl": ROWS, "eval.jsonl": b"", "dataset.json": b"{}"}
    repo = hub_server.store.add_repo("ada/thing", model_files() if kind == "model" else ours, kind=kind)
    repo.extra_tree_entries.append(path)
    assert failure(registry, hub_server).endswith(f"is not part of a {kind}. Remove it or leave it out.")
    assert fetched(hub_server) == set()


def test_code_in_the_settings_is_refused(registry: Registry, hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/thing", model_files() | {"config.json": model_config(auto_map={"AutoModel": "x.Y"})})
    assert failure(registry, hub_server).endswith("'auto_map', which makes transformers import code. Remove the key.")


def test_a_shard_of_the_same_size_with_other_bytes(registry: Registry, hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/thing", sharded_files())
    hub_server.corrupt(f"/resolve/.*{SHARDS[1]}")
    assert failure(registry, hub_server) == (
        f"{SHARDS[1]} of ada/thing arrived with other bytes than the Hub lists (wrong hash). "
        "Nothing was imported; try again."
    )
    assert run(registry, hub_server).kind == "model"


def test_a_model_that_does_not_fit_on_the_disk(
    registry: Registry, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_server.store.add_repo("ada/thing", model_files())
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(StorageError, match=r"^The pull needs [\d,]+ bytes for a while, but only 100 are free in "):
        run(registry, hub_server)
    assert fetched(hub_server) == set()


def test_neither_adapter_nor_model(registry: Registry, hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/thing", {"model.gguf": b"x"})
    with pytest.raises(HubError, match=r"^ada/thing is neither an adapter nor a model: it has no adapter_config\.json"):
        run(registry, hub_server)
    hub_server.store.add_repo("ada/thing", adapter_files())
    assert run(registry, hub_server).kind == "adapter"


@pytest.mark.processes
def test_killed_in_mid_pull(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    hub_server.store.add_repo("ada/thing", sharded_files())
    hub_server.stall("GET", f"/resolve/.*{SHARDS[1]}")
    code = (
        "import sys; from hub import open_registry; from hub.pull import pull; from pathlib import Path; "
        "pull(open_registry(Path(sys.argv[1])), 'ada/thing', 'back', endpoint=sys.argv[2])"
    )
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(tmp_path / "hf"),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(registry.home), hub_server.url], cwd=ROOT, env=environment
    )
    end = time.monotonic() + 60
    while not hub_server.calls("GET", f"/{SHARDS[1]}"):
        assert process.poll() is None
        assert time.monotonic() < end, "the pull never came so far"
        time.sleep(0.02)
    assert os.listdir(registry.home / "store" / "tmp") != []
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)

    again = open_registry(registry.home)
    assert again.list() == []
    assert os.listdir(registry.home / "store" / "tmp") == []
    assert again.verify().unreferenced == []
    again.close()
    assert run(registry, hub_server).label == "back:v1"

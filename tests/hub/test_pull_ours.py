"""What Medley published, pulled by another: a manifest counts only where it is true, rows only as we write them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import Registry, Version, open_registry
from hub.intake_model import OTHER_CONTENT
from hub.plan import plan_push
from hub.push import push
from medley.errors import AdapterFormatError, DatasetError
from medley.jobs.pull import pull
from tests.hub.datasets import publish_sums
from tests.hub.models import SHARDS, model_files, publish_mixed, save, tensors
from tests.hub_server import HubServer


def run(registry: Registry, server: HubServer) -> Version:
    return pull(registry, "ada/thing", "back", endpoint=server.url)


def published(registry: Registry, server: HubServer, name: str) -> None:
    """The repo ada/thing as a push of ours made it, and nothing else."""
    plan = plan_push(registry, name, "ada/thing", private=False)
    push(registry, plan, token=server.owner.token, endpoint=server.url)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Registry]:
    """Another machine's registry, with nothing in it."""
    opened = open_registry(tmp_path / "elsewhere")
    yield opened
    opened.close()


def test_a_file_changed_on_the_hub_is_another_content(
    registry: Registry, other: Registry, hub_server: HubServer, tmp_path: Path
) -> None:
    sent = publish_mixed(registry, tmp_path / "src")
    published(registry, hub_server, "mixed")
    repo = hub_server.store.repos["model", "ada/thing"]
    hub_server.store.add_commit(repo, {SHARDS[0]: save(dict(list(tensors(9).items())[:1]))})
    version = run(other, hub_server)
    assert version.id != sent.id
    assert version.metadata["notes"] == [OTHER_CONTENT]
    assert other.parents(version.id) == []
    assert "medley.json" not in {path.name for path in version.path.iterdir()}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"base": "/etc"}, "medley.json names a base, parents or files that no model has."),
        ({"parents": [["../x", "1" * 64]]}, "medley.json names a base, parents or files that no model has."),
        ({"parents": [["base", "short"]]}, "medley.json names a base, parents or files that no model has."),
        ({"files": [["../x", 1, "1" * 64]]}, "medley.json names a base, parents or files that no model has."),
        ({"kind": "adapter"}, "medley.json is not the manifest of a model in format 1. Remove it."),
        ({"more": 1}, "medley.json was changed by hand or is damaged. Remove it."),
        ({"files": [3]}, "medley.json was changed by hand or is damaged. Remove it."),
    ],
)
def test_a_manifest_may_not_claim_everything(
    registry: Registry, hub_server: HubServer, change: dict[str, Any], sentence: str
) -> None:
    claims = {
        "format": 1,
        "kind": "model",
        "base": None,
        "base_revision": None,
        "recipe": None,
        "parents": [],
        "files": [],
    }
    text = json.dumps({**claims, **change}, sort_keys=True, separators=(",", ":"))
    hub_server.store.add_repo("ada/thing", model_files() | {"medley.json": text.encode()})
    with pytest.raises(AdapterFormatError) as caught:
        run(registry, hub_server)
    assert str(caught.value) == sentence
    assert registry.list() == []


def change_rows(server: HubServer, **files: bytes) -> None:
    repo = server.store.repos["dataset", "ada/thing"]
    server.store.add_commit(repo, {name.replace("__", "."): data for name, data in files.items()})


def line(**row: Any) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


MESSAGE = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (b"{}\n", "Line 1 of train.jsonl is no row of sft data, so Medley did not write it."),
        (b"[1\n", "Line 1 of train.jsonl is not JSON, so Medley did not write it."),
        (b"\xff\n", "train.jsonl is not UTF-8 text after line 0."),
        (line(prompt=MESSAGE, completion=MESSAGE), "train.jsonl has 1 rows, but dataset.json says 18. It was changed."),
        (
            line(prompt=MESSAGE, completion=[]),
            "Line 1 of train.jsonl is no row of sft data, so Medley did not write it.",
        ),
        (
            line(prompt=MESSAGE, completion=[{"role": "god", "content": "x"}]),
            "Line 1 of train.jsonl is no row of sft data, so Medley did not write it.",
        ),
        (
            line(prompt=MESSAGE, completion=[{"role": "assistant", "content": "x<|im_end|>"}]),
            "Line 1 of train.jsonl holds <|im_end|>, a mark of a chat template, so Medley did not write it.",
        ),
    ],
)
def test_rows_that_no_import_writes_are_refused(
    registry: Registry, other: Registry, hub_server: HubServer, tmp_path: Path, rows: bytes, sentence: str
) -> None:
    publish_sums(registry, tmp_path / "src")
    published(registry, hub_server, "sums")
    change_rows(hub_server, train__jsonl=rows)
    with pytest.raises(DatasetError) as caught:
        run(other, hub_server)
    assert str(caught.value) == sentence
    assert other.list() == []
    assert os.listdir(other.home / "store" / "tmp") == []


def test_a_dataset_with_code_in_it(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    publish_sums(registry, tmp_path / "src")
    published(registry, hub_server, "sums")
    change_rows(hub_server, sums__py=b"import os\n")
    with pytest.raises(AdapterFormatError, match=r"'sums.py' is code, which a dataset does not need\. Remove it\."):
        run(registry, hub_server)

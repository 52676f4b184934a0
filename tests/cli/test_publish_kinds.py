"""Models and datasets by the command line: imported, planned, pushed, pulled into another home as the same version."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from hub import open_registry
from tests.cli.conftest import Here, assert_refused, kept_in
from tests.hub.adapters import write
from tests.hub.models import model_files, sharded_files
from tests.hub_server import HubServer


@pytest.fixture
def online(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The Hub of the tests as the one that commands in this process talk to."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub_server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.url)
    monkeypatch.setenv("HF_TOKEN", hub_server.owner.token)
    return hub_server


def test_a_model_is_imported(medley_home: Path, here: Here, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {**sharded_files(), "pytorch_model.bin": b"\x80\x04x"})
    ended = here("model", "import", folder, "--name", "mixed", ok=True)
    version = open_registry(medley_home).get("mixed")
    assert ended.out == (
        f"Imported mixed:v1 (sha256:{version.id[:8]}), a model of 28 parameters.\nLeft out: pytorch_model.bin.\n"
    )
    assert len(version.metadata["weights_digest"]) == 64
    again = here("model", "import", folder, "--name", "mixed", "--base", "ada/tiny", "--json", ok=True).json
    assert (again["version"], again["base"], again["left_out"]) == (2, "ada/tiny", ["pytorch_model.bin"])


def test_a_model_that_is_none_is_one_line(medley_home: Path, here: Here, tmp_path: Path) -> None:
    files = {name: data for name, data in model_files().items() if name != "tokenizer.json"}
    ended = here("model", "import", write(tmp_path / "mine", files), "--name", "mixed")
    assert_refused(ended, says="'mine' cannot be imported: it has no tokenizer (tokenizer.json).")
    assert open_registry(medley_home).list() == []


@pytest.mark.parametrize(
    ("name", "kind", "what"),
    [("mixed", "model", "a model of 28 parameters, base unknown"), ("sums", "dataset", "a dataset of 20 rows")],
)
def test_there_and_back_again(
    stocked: Path, here: Here, online: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str,
    what: str,
) -> None:  # fmt: skip
    if kind == "model":
        here("model", "import", write(tmp_path / "mine", model_files()), "--name", "mixed", ok=True)
    sent, before = open_registry(stocked).get(name), kept_in(stocked)
    planned = here("push", name, "--to", f"ada/{name}", "--private", "--dry-run", ok=True)
    assert planned.out.endswith("\n\nA dry run: nothing was sent.\n")
    assert "medley.json carries its id" in planned.out
    assert (online.seen, kept_in(stocked)) == ([], before)
    pushed = here("push", name, "--to", f"ada/{name}", "--private", "--json", ok=True).json
    page = f"{online.url}/{'datasets/' if kind == 'dataset' else ''}ada/{name}"
    assert (pushed["url"], pushed["tag"], pushed["verified"]) == (page, "v1", True)
    assert online.store.repos[kind, f"ada/{name}"].is_private

    monkeypatch.setenv("MEDLEY_HOME", str(tmp_path / "elsewhere"))
    pulled = here("pull", f"ada/{name}", "--name", "back", ok=True)
    assert pulled.out == f"Pulled back:v1 (sha256:{sent.id[:8]}), {what}.\n"
    assert open_registry(tmp_path / "elsewhere").get("back").id == sent.id
    assert online.owner.token not in pushed.__repr__() + pulled.out + pulled.err
    assert not any(online.owner.token.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_kind_is_named_where_one_repo_has_two(medley_home: Path, here: Here, online: HubServer) -> None:
    online.store.add_repo("ada/thing", {"train.jsonl": b'{"instruction": "Hi", "output": "Ho"}\n' * 2}, kind="dataset")
    online.store.add_repo("ada/thing", model_files())
    assert here("pull", "ada/thing", "--name", "one", "--json", ok=True).json["kind"] == "model"
    assert here("pull", "ada/thing", "--name", "two", "--kind", "dataset", "--json", ok=True).json["kind"] == "dataset"

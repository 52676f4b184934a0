"""Which base an imported adapter belongs to: said by the caller or by a Hub id, never by somebody's local path."""

import json
from pathlib import Path
from typing import Any

import pytest

from hub import Registry
from hub.export import export_version
from hub.intake import import_adapter
from medley.errors import AdapterFormatError, InvalidNameError, NotFoundError
from tests.lm.adapter_writing import write_adapter

BASE = "medley-tests/tiny-llama"
PATHS = ["/etc", "../..", "./model", "C:\\models\\x", "\\\\host\\share", "file:///etc/passwd", "a/b/c", "~/model"]
PATHS += ["http://169.254.169.254/latest", "meta-llаma/Llama-3-8B", "org/na--me"]


@pytest.fixture
def pirate(tmp_path: Path) -> Path:
    """A small good adapter."""
    return write_adapter(tmp_path / "pirate")


def publish_base(registry: Registry, folder: Path, **details: Any) -> Any:
    folder.mkdir()
    facts = {"hub_id": BASE, "revision": None, "weights_digest": "ab" * 32, **details}
    (folder / "base.json").write_text(json.dumps(facts))
    base = facts["hub_id"] or f"folder:{facts['weights_digest']}"
    return registry.publish("base", "tiny", folder, base=base, base_revision=facts["revision"])


@pytest.mark.parametrize("written", PATHS)
def test_a_base_that_is_no_hub_id_needs_base(registry: Registry, tmp_path: Path, written: str) -> None:
    folder = write_adapter(tmp_path / "pirate", base_model_name_or_path=written)
    with pytest.raises(AdapterFormatError) as caught:
        import_adapter(registry, folder, "pirate")
    assert str(caught.value) == (
        f"adapter_config.json names its base model by {written!a}, which is not a Hub id, and such a path is "
        "never followed. Name the base model with --base."
    )
    assert registry.list() == []
    version, _ = import_adapter(registry, folder, "pirate", base=BASE, base_revision="main")
    config = json.loads((version.path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"], config["r"]) == (BASE, "main", 4)
    assert (version.base, version.base_revision) == (BASE, "main")
    assert version.metadata["notes"] == [
        f"adapter_config.json named a local path; it was written anew with the base '{BASE}' at revision main."
    ]
    for file in version.path.iterdir():
        assert written.encode() not in file.read_bytes()


def test_no_base_at_all(registry: Registry, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "pirate", base_model_name_or_path=None)
    with pytest.raises(AdapterFormatError, match="does not say which base model it belongs to"):
        import_adapter(registry, folder, "pirate")
    assert import_adapter(registry, folder, "pirate", base=BASE)[0].base == BASE


def test_the_base_that_is_given_wins_and_that_is_noted(registry: Registry, pirate: Path) -> None:
    version, _ = import_adapter(registry, pirate, "pirate", base="other/base")
    assert version.base == "other/base"
    assert version.metadata["notes"] == [
        f"adapter_config.json named '{BASE}'; it was written anew with the base 'other/base'."
    ]


def test_another_revision_of_the_same_base_is_noted_too(registry: Registry, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "pirate", revision="v1")
    kept, _ = import_adapter(registry, folder, "kept", base=BASE)
    assert (kept.base_revision, "notes" in kept.metadata) == ("v1", False)
    moved, _ = import_adapter(registry, folder, "moved", base=BASE, base_revision="v2")
    assert json.loads((moved.path / "adapter_config.json").read_text())["revision"] == "v2"
    assert moved.metadata["notes"] == [
        f"adapter_config.json named '{BASE}' at revision v1; it was written anew with the base '{BASE}' at revision v2."
    ]


def test_a_registered_base_is_a_parent_whether_named_or_found(registry: Registry, pirate: Path, tmp_path: Path) -> None:
    base = publish_base(registry, tmp_path / "base", revision="f" * 40)
    named, _ = import_adapter(registry, pirate, "named", base="tiny")
    assert (named.base, named.base_revision, named.metadata["base_name"]) == (BASE, "f" * 40, "tiny")
    found, _ = import_adapter(registry, pirate, "found")
    assert (found.base, found.base_revision, found.metadata["base_name"]) == (BASE, None, "tiny")
    for version in (named, found):
        assert [(role, parent.id) for role, parent in registry.parents(version.id) if parent] == [("base", base.id)]
    other = write_adapter(tmp_path / "other", revision="e" * 40)
    assert registry.parents(import_adapter(registry, other, "other")[0].id) == []


def test_a_base_without_hub_id_is_known_by_its_digest(registry: Registry, pirate: Path, tmp_path: Path) -> None:
    publish_base(registry, tmp_path / "base", hub_id=None)
    version, _ = import_adapter(registry, pirate, "pirate", base="tiny")
    assert version.base == f"folder:{'ab' * 32}"
    config = json.loads((version.path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == f"folder:{'ab' * 32}"
    out = export_version(registry, "pirate", tmp_path / "out.zip", kind="adapter")
    assert import_adapter(registry, out, "again")[0].id == version.id


def test_a_base_that_is_not_there(registry: Registry, pirate: Path) -> None:
    with pytest.raises(NotFoundError, match="There is no base named 'tinny'"):
        import_adapter(registry, pirate, "pirate", base="tinny")
    with pytest.raises(InvalidNameError, match="is neither a registered base nor a Hub id"):
        import_adapter(registry, pirate, "pirate", base="/models/tiny")


def test_a_card_with_a_local_path_stays_behind(registry: Registry, pirate: Path) -> None:
    (pirate / "README.md").write_text("---\nbase_model: /home/someone/secret\n---\n")
    version, left_out = import_adapter(registry, pirate, "pirate")
    assert left_out == ("README.md (it names the base model by a local path)",)
    assert sorted(file.name for file in version.path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]

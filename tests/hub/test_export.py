"""What goes out is what is in the registry, byte for byte, or nothing at all."""

import zipfile
from pathlib import Path

import pytest

from hub import Registry, Version
from hub.export import export_version
from hub.intake import import_adapter
from medley.errors import ConflictError, NotFoundError, StorageError
from tests.lm.adapter_writing import write_adapter


@pytest.fixture
def version(registry: Registry, tmp_path: Path) -> Version:
    folder = write_adapter(tmp_path / "source")
    (folder / "README.md").write_text("# Pirate\n")
    return import_adapter(registry, folder, "pirate")[0]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder(registry: Registry, version: Version, outside: Path) -> None:
    out = export_version(registry, "pirate", outside / "copy", kind="adapter")
    assert out == outside / "copy"
    assert contents(out) == contents(version.path)
    assert [path.name for path in outside.iterdir()] == ["copy"]
    (out / "README.md").write_text("a copy is the user's to change")


def test_a_zip_that_comes_back_in_as_the_same_version(registry: Registry, version: Version, outside: Path) -> None:
    out = export_version(registry, "pirate:v1", outside / "copy.zip", kind="adapter")
    assert [path.name for path in outside.iterdir()] == ["copy.zip"]
    with zipfile.ZipFile(out) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents(version.path)
    assert import_adapter(registry, out, "again")[0].id == version.id


def test_peft_loads_what_was_exported(registry: Registry, tiny_base: Path, make_adapter: object, outside: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    import_adapter(registry, make_adapter("real"), "real")  # type: ignore[operator]
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_base),
        export_version(registry, "real", outside / "real", kind="adapter"),
    )
    assert model.peft_config["default"].r == 4


@pytest.mark.parametrize("name", ["copy", "copy.zip"])
def test_nothing_is_overwritten(registry: Registry, version: Version, outside: Path, name: str) -> None:
    (outside / name).write_text("mine")
    with pytest.raises(ConflictError, match=r"exists already\. Choose another place; nothing is overwritten\.$"):
        export_version(registry, "pirate", outside / name, kind="adapter")
    (outside / name).unlink()
    (outside / name).symlink_to("nowhere")
    with pytest.raises(ConflictError):
        export_version(registry, "pirate", outside / name, kind="adapter")
    (outside / name).unlink()
    (outside / name).mkdir()
    with pytest.raises(ConflictError):
        export_version(registry, "pirate", outside / name, kind="adapter")
    assert contents(outside / name) == {}


@pytest.mark.parametrize("name", ["copy", "copy.zip"])
def test_damage_is_found_while_copying(registry: Registry, version: Version, outside: Path, name: str) -> None:
    weights = version.path / "adapter_model.safetensors"
    weights.chmod(0o644)
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + b"\x01")
    with pytest.raises(StorageError, match=r"adapter_model.safetensors of pirate:v1 is damaged\. Run `medley registry"):
        export_version(registry, "pirate", outside / name, kind="adapter")
    assert list(outside.iterdir()) == []


def test_no_such_adapter_and_no_such_place(registry: Registry, version: Version, outside: Path) -> None:
    with pytest.raises(NotFoundError):
        export_version(registry, "pirat", outside / "copy", kind="adapter")
    with pytest.raises(StorageError, match=r"^pirate:v1 was not exported to .*: No such file or directory\.$"):
        export_version(registry, "pirate", outside / "nowhere" / "copy", kind="adapter")
    assert list(outside.iterdir()) == []

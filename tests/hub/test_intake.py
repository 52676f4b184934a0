"""What comes in is what was checked, the rest stays behind by name, and the record says which base it belongs to."""

import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import Parent, Registry
from hub.intake import import_adapter, read_adapter_source
from medley.errors import AdapterFormatError, InvalidNameError, NotFoundError, ProblemsError, StorageError
from tests.lm.adapter_writing import write_adapter

BASE = "medley-tests/tiny-llama"
LEFTOVERS = {
    "training_args.bin": b"\x80\x04.",
    "optimizer.pt": b"PK\x03\x04",
    "scheduler.pt": b"x",
    "rng_state.pth": b"x",
    "rng_state_0.pth": b"x",
    "trainer_state.json": b"not json",
    "adapter_model.bin": b"\x80\x04.",
    ".gitattributes": b"*.safetensors filter=lfs",
    "checkpoint-60/optimizer.pt": b"x",
    "runs/Jan01/events.out.tfevents.1": b"x",
    ".git/config": b"x",
    ".cache/huggingface/download/x.metadata": b"x",
}
TAKEN = {
    "README.md": b"---\nbase_model: medley-tests/tiny-llama\ntags: [lora]\n---\n# Pirate\n",
    "LICENSE.txt": b"Apache-2.0",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b'{"model_max_length": 1000000000000000019884624838656}',
    "special_tokens_map.json": b"{}",
    "chat_template.jinja": b"{{ messages[0].content }}",
    "recipe.yaml": b"merge_method: linear\n",
    "merge_report.json": b"{}",
}


@pytest.fixture
def pirate(tmp_path: Path) -> Path:
    """A small good adapter."""
    return write_adapter(tmp_path / "pirate")


def add(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def stored_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def zip_of(folder: Path, prefix: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def test_a_folder_is_published_byte_for_byte(registry: Registry, pirate: Path) -> None:
    add(pirate, TAKEN)
    version, left_out = import_adapter(registry, pirate, "pirate")
    assert (version.label, version.kind, version.base, version.base_revision) == ("pirate:v1", "adapter", BASE, None)
    assert stored_files(version.path) == stored_files(pirate)
    assert left_out == ()
    assert version.metadata == {
        "trainer": "imported",
        "peft_type": "LORA",
        "adapter_type": "lora",
        "rank": 4,
        "targets": ["q_proj"],
        "parameters": 64,
        "size_bytes": 256,
    }


def test_real_peft_output_and_again(registry: Registry, make_adapter: Callable[..., Path]) -> None:
    folder = make_adapter("real", r=3, target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 5})
    version, _ = import_adapter(registry, folder, "real")
    assert (version.metadata["rank"], version.metadata["targets"]) == (5, ["q_proj", "v_proj"])
    assert import_adapter(registry, folder, "real")[0].label == "real:v1"
    assert import_adapter(registry, folder, "other")[0].id == version.id


def test_leftovers_stay_behind_and_are_named(registry: Registry, pirate: Path) -> None:
    add(pirate, LEFTOVERS)
    version, left_out = import_adapter(registry, pirate, "pirate")
    assert left_out == (
        ".cache/",
        ".git/",
        ".gitattributes",
        "adapter_model.bin",
        "checkpoint-60/",
        "optimizer.pt",
        "rng_state.pth",
        "rng_state_0.pth",
        "runs/",
        "scheduler.pt",
        "trainer_state.json",
        "training_args.bin",
    )
    assert sorted(stored_files(version.path)) == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_leftover_is_never_opened(registry: Registry, pirate: Path) -> None:
    os.mkfifo(pirate / "optimizer.pt")
    (pirate / "runs").symlink_to("/proc")
    (pirate / "training_args.bin").symlink_to("/etc/passwd")
    (pirate / "checkpoint-1").mkdir(mode=0)
    with pytest.raises(AdapterFormatError, match=r"'runs' is a symbolic link\. Put the file itself there\."):
        import_adapter(registry, pirate, "pirate")
    (pirate / "runs").unlink()
    left_out = import_adapter(registry, pirate, "pirate")[1]
    assert left_out == ("checkpoint-1/", "optimizer.pt", "training_args.bin")


@pytest.mark.parametrize("prefix", ["", "pirate/"])
def test_a_zip_gives_what_the_folder_gives(registry: Registry, pirate: Path, prefix: str) -> None:
    add(pirate, {**TAKEN, **LEFTOVERS})
    from_folder, left_out = import_adapter(registry, pirate, "from-folder")
    from_zip, left_out_of_zip = import_adapter(registry, zip_of(pirate, prefix), "from-zip")
    assert from_zip.id == from_folder.id
    assert left_out_of_zip == left_out


def test_a_zip_made_on_a_mac(registry: Registry, pirate: Path) -> None:
    path = zip_of(pirate, "pirate/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/pirate/._adapter_config.json", b"x")
        archive.writestr("pirate/.DS_Store", b"x")
    version, left_out = import_adapter(registry, path, "pirate")
    assert left_out == (".DS_Store", "__MACOSX/")
    assert version.size_bytes == sum(file.stat().st_size for file in pirate.iterdir())


def test_a_snapshot_in_the_hub_cache_is_followed_into_its_blobs(
    registry: Registry, pirate: Path, tmp_path: Path
) -> None:
    repo = tmp_path / "hub" / "models--medley-tests--pirate"
    snapshot = repo / "snapshots" / ("ab" * 20)
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for index, file in enumerate(sorted(pirate.iterdir())):
        digest = str(index) * 64
        shutil.copy(file, repo / "blobs" / digest)
        (snapshot / file.name).symlink_to(f"../../blobs/{digest}")
    version, _ = import_adapter(registry, snapshot, "pirate")
    assert stored_files(version.path) == stored_files(pirate)
    moved = repo.rename(tmp_path / "elsewhere")
    with pytest.raises(ProblemsError, match="is a symbolic link"), open_source(moved / "snapshots" / ("ab" * 20)):
        pass


def open_source(path: Path) -> Any:
    return read_adapter_source(path, base=None)


def test_a_link_of_a_snapshot_that_leaves_its_blobs(pirate: Path, tmp_path: Path) -> None:
    repo = tmp_path / "models--a--b"
    snapshot = repo / "snapshots" / "x"
    snapshot.parent.mkdir(parents=True)
    pirate.rename(snapshot)
    (repo / "blobs").mkdir()
    (repo / "blobs" / ("a" * 64)).symlink_to("/etc/hostname")
    for target, reason in {
        "../../../etc/passwd": "is a symbolic link. Put the file itself there.",
        "/etc/hostname": "is a symbolic link. Put the file itself there.",
        f"../../blobs/../../{'a' * 64}": "is a symbolic link. Put the file itself there.",
        f"../../blobs/{'a' * 64}": "is a symbolic link.",
    }.items():
        (snapshot / "README.md").unlink(missing_ok=True)
        (snapshot / "README.md").symlink_to(target)
        with pytest.raises(AdapterFormatError, match=reason.replace(".", r"\.")), open_source(snapshot):
            pass


def test_a_file_swapped_after_the_check_does_not_get_in(registry: Registry, pirate: Path) -> None:
    good = (pirate / "adapter_config.json").read_bytes()
    with read_adapter_source(pirate, base=None) as intake:
        (pirate / "adapter_config.json").write_bytes(b"evil")
        assert intake.files["adapter_config.json"].read_bytes() == good
        assert intake.adapter.folder != pirate
        copy = intake.adapter.folder
    assert not copy.exists()


def test_what_the_caller_knows_is_recorded(registry: Registry, pirate: Path, tmp_path: Path) -> None:
    parent = import_adapter(registry, pirate, "parent")[0]
    metadata = {"trainer": "sft", "trained_on": "nf4"}
    other = write_adapter(tmp_path / "other", lora_alpha=9)
    version, _ = import_adapter(registry, other, "child", metadata=metadata, parents=[Parent(parent.id, "init")])
    assert (version.metadata["trainer"], version.metadata["trained_on"], version.metadata["rank"]) == ("sft", "nf4", 4)
    assert [role for role, _ in registry.parents(version.id)] == ["init"]


def test_keys_of_a_newer_peft_are_noted(registry: Registry, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "pirate", new_group_size=16)
    version, _ = import_adapter(registry, folder, "pirate")
    assert version.metadata["notes"] == [
        "adapter_config.json has keys that this version does not know: new_group_size."
    ]


def test_a_source_that_is_not_there(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"There is no file or folder '.*\.\.\.'\.$"):
        import_adapter(registry, tmp_path / "nowhere", "pirate")
    with pytest.raises(InvalidNameError):
        import_adapter(registry, tmp_path / "nowhere", "../x")


@pytest.fixture(autouse=True)
def no_copies_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever happens, nothing stays in the temporary folder."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    yield
    assert list(temporary.iterdir()) == []


def test_a_blob_that_is_larger_than_a_card_may_be(pirate: Path, tmp_path: Path) -> None:
    """A link's size is not known before it is copied, so the copy itself must stop."""
    snapshot = tmp_path / "models--a--b" / "snapshots" / "x"
    snapshot.parent.mkdir(parents=True)
    pirate.rename(snapshot)
    blob = tmp_path / "models--a--b" / "blobs" / ("a" * 64)
    blob.parent.mkdir()
    blob.write_bytes(bytes(2 * 2**20))
    (snapshot / "README.md").symlink_to(f"../../blobs/{'a' * 64}")
    with (
        pytest.raises(AdapterFormatError, match=r"^'README\.md' has more than 1,048,576 bytes\.$"),
        open_source(snapshot),
    ):
        pass


def test_no_room_for_the_copies(registry: Registry, pirate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = sum(file.stat().st_size for file in pirate.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, needed - 1))
    with pytest.raises(StorageError, match=rf"^The copy needs {needed:,} bytes, but only {needed - 1:,} are free in "):
        import_adapter(registry, pirate, "pirate")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, needed))
    assert import_adapter(registry, pirate, "pirate")[0].number == 1

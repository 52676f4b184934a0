"""verify finds every kind of damage, names it, and changes nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Parent, Registry, Version
from medley.errors import StorageError
from tests.hub.conftest import FILES


@pytest.fixture
def pirate(registry: Registry, make_folder: Callable[..., Path]) -> Version:
    registry.publish("adapter", "poet", make_folder({"f": b"fine"}))
    files = {"adapter_model.safetensors": b"weights" * 100, "sub/readme": b"hello"}
    return registry.publish("adapter", "pirate", make_folder(files), recipe="r: 1", parents=[Parent("ab" * 32, "data")])


def unlock(version: Version) -> Path:
    """The version's folder, open for vandals."""
    for path in [version.path, *version.path.rglob("*")]:
        path.chmod(0o755)
    return version.path


def found(registry: Registry, ref: str | None = None) -> list[tuple[str, str, str]]:
    return [(problem.name, problem.path, problem.what) for problem in registry.verify(ref).problems]


def test_all_is_well(registry: Registry, pirate: Version) -> None:
    steps = []
    report = registry.verify(emit=lambda kind, **fields: steps.append((kind, fields["step"], fields["total"])))
    assert (report.is_ok, report.checked, report.problems, report.unreferenced) == (True, 2, [], [])
    assert steps == [("progress", 1, 2), ("progress", 2, 2)]
    assert registry.verify("pirate").checked == 1


def test_a_flipped_bit(registry: Registry, pirate: Version) -> None:
    path = unlock(pirate) / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[350] ^= 1
    path.write_bytes(data)
    assert found(registry) == [("pirate:v1", "adapter_model.safetensors", "changed")]
    assert found(registry, "poet") == []
    assert [str(problem) for problem in registry.verify("pirate").problems] == [
        "pirate:v1: adapter_model.safetensors: changed"
    ]


def test_missing_extra_and_replaced_files(registry: Registry, pirate: Version, tmp_path: Path) -> None:
    folder = unlock(pirate)
    (tmp_path / "copy").write_bytes((folder / "adapter_model.safetensors").read_bytes())
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.safetensors").symlink_to(tmp_path / "copy")  # right bytes, but not ours to keep
    (folder / "sub/readme").unlink()
    (folder / "sub/new.py").write_text("import os")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    assert found(registry) == [
        ("pirate:v1", "adapter_model.safetensors", "changed"),
        ("pirate:v1", "empty", "extra"),
        ("pirate:v1", "pipe", "extra"),
        ("pirate:v1", "sub/new.py", "extra"),
        ("pirate:v1", "sub/readme", "missing"),
    ]


def test_a_file_where_a_folder_was(registry: Registry, pirate: Version) -> None:
    folder = unlock(pirate)
    (folder / "sub/readme").unlink()
    (folder / "sub").rmdir()
    (folder / "sub").write_text("x")
    assert found(registry) == [("pirate:v1", "sub", "extra"), ("pirate:v1", "sub/readme", "missing")]


def test_a_record_without_its_folder(registry: Registry, pirate: Version) -> None:
    unlock(pirate).rename(registry.home / "stolen")
    assert found(registry) == [("pirate:v1", "", "missing")]
    assert str(registry.verify().problems[0]) == "pirate:v1: the whole folder: missing"
    pirate.path.symlink_to(registry.home / "stolen")  # the right files, but not where we can vouch for them
    assert found(registry) == [("pirate:v1", "", "changed")]


@pytest.mark.parametrize("what", ["link", "file"])
def test_publishing_again_mends_even_a_replaced_folder(
    registry: Registry, make_folder: Callable[..., Path], what: str
) -> None:
    version = registry.publish("adapter", "pirate", make_folder())
    unlock(version).rename(registry.home / "stolen").chmod(0o700)
    if what == "link":
        version.path.symlink_to(registry.home / "stolen")
    else:
        version.path.write_text("x")
    assert found(registry) == [("pirate:v1", "", "changed")]
    registry.publish("adapter", "pirate", make_folder())
    assert registry.verify().is_ok
    stolen = registry.home / "stolen"  # what the link pointed at is none of our business
    assert stolen.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in stolen.iterdir()) == sorted(FILES)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE contents SET manifest = replace(manifest, 'sub/readme', 'sub/liesme')",
        "UPDATE contents SET manifest = '{}'",
        "UPDATE contents SET manifest = 'not json'",
        "UPDATE contents SET manifest = replace(manifest, ',', ', ')",
        "UPDATE contents SET base = 'evil/base'",
        "UPDATE contents SET recipe = 'r: 2'",
        "UPDATE contents SET size_bytes = 1",
        "UPDATE parents SET role = 'init'",
        "DELETE FROM parents",
    ],
)
def test_an_edited_record(registry: Registry, pirate: Version, edit: str) -> None:
    registry.remove("poet")
    registry.gc(grace_s=0)
    registry._connection.execute(edit)
    assert found(registry) == [("pirate:v1", "", "record changed")]


def test_an_unreferenced_folder_is_mentioned_and_no_error(registry: Registry, pirate: Version) -> None:
    stray = registry.home / "store" / "00" / ("00" * 32)
    stray.mkdir(parents=True)
    (stray / "f").write_text("x")
    report = registry.verify()
    assert report.is_ok
    assert report.unreferenced == ["00" * 32]
    assert registry.verify("pirate").unreferenced == []


def test_hidden_versions_are_checked_until_they_are_collected(registry: Registry, pirate: Version) -> None:
    registry.remove("pirate")
    (unlock(pirate) / "sub/readme").write_text("bye")
    assert found(registry) == [("pirate:v1", "sub/readme", "changed")]


def test_publishing_again_mends_a_damaged_version(
    registry: Registry, pirate: Version, make_folder: Callable[..., Path]
) -> None:
    original = make_folder({"adapter_model.safetensors": b"weights" * 100, "sub/readme": b"hello"})
    (unlock(pirate) / "sub/readme").write_text("bye")
    again = registry.publish("adapter", "pirate", original, recipe="r: 1", parents=[Parent("ab" * 32, "data")])
    assert again.label == "pirate:v1"
    assert registry.verify().is_ok
    assert (again.path / "sub/readme").read_text() == "hello"
    assert os.listdir(registry.home / "store" / "tmp") == []


def test_a_damaged_database_is_a_storage_error(registry: Registry, pirate: Version, medley_home: Path) -> None:
    from hub import open_registry

    registry.close()
    for leftover in ("registry.db-wal", "registry.db-shm"):
        (medley_home / leftover).unlink(missing_ok=True)
    (medley_home / "registry.db").write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(StorageError, match=r"registry\.db could not be opened: the database is damaged \(file is not"):
        open_registry(medley_home)

"""SIGKILL at every step, a full disk, a read-only disk: nothing half visible, nothing lost, and it works again."""

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub import Registry, open_registry
from medley.errors import StorageError
from tests.hub.crash_driver import move_alias, publish_child, remove_and_collect

ROOT = Path(__file__).resolve().parents[2]
MakeFolder = Callable[..., Path]


def crash_everywhere(action: str, tmp_path: Path) -> list[Path]:
    """The homes that were left behind, the last one by an action that was not killed."""
    for name, data in {"parent": b"parent" * 500, "child": b"child" * 500}.items():
        folder = tmp_path / f"{name}-files"
        (folder / "sub").mkdir(parents=True)
        (folder / "weights").write_bytes(data)
        (folder / "sub" / "readme").write_bytes(data[:20])
    command = [sys.executable, "-m", "tests.hub.crash_driver", action, str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [tmp_path / f"{run:04}" for run in range(1, int(result.stdout) + 1)]


def reopen(home: Path) -> Registry:
    """The registry after a crash, which must be whole and must have cleaned up behind the dead process."""
    registry = open_registry(home)
    assert os.listdir(home / "store" / "tmp") == []
    assert registry.verify().problems == []
    return registry


def stored(registry: Registry) -> set[str]:
    return {path.name for path in (registry.home / "store").glob("??/*")}


@pytest.mark.parametrize("action", ["first publish", "publish"])
def test_a_killed_publish_shows_all_or_nothing_and_can_be_repeated(action: str, tmp_path: Path) -> None:
    seen = []
    for home in crash_everywhere(action, tmp_path):
        registry = reopen(home)
        before = {version.id for version in registry.list()}
        seen.append(registry.exists("child"))
        if registry.exists("child"):
            child = registry.get("child")
            assert (child.path / "weights").read_bytes() == b"child" * 500
            assert child.metadata == {"rank": 4}
            assert [role for role, _ in registry.parents(child.id)] == ["init"] * (action == "publish")
        if action == "publish":
            assert registry.get("parent:production").label == "parent:v1"
        publish_child(registry)
        assert registry.get("child").label == "child:v1"
        assert registry.verify().is_ok
        assert registry.verify().unreferenced == []
        assert stored(registry) == before | {registry.get("child").id}
        registry.close()
    assert len(seen) > 40  # every step was tried
    assert seen == sorted(seen)  # once it is visible it stays visible
    assert seen[0] is False
    assert seen[-1] is True


def test_a_killed_alias_move_is_done_or_not_done(tmp_path: Path) -> None:
    seen = []
    for home in crash_everywhere("move alias", tmp_path):
        registry = reopen(home)
        number = registry.get("parent:production").number
        moves = [(move.from_number, move.to_number) for move in registry.alias_history("parent", "production")]
        assert (number, moves) in [(1, [(None, 1)]), (2, [(None, 1), (1, 2)])]
        seen.append(number)
        if number == 1:
            move_alias(registry)
        assert registry.get("parent:production").number == 2
        registry.close()
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (1, 2)


def test_a_killed_removal_never_leaves_a_record_without_its_files(tmp_path: Path) -> None:
    for home in crash_everywhere("remove", tmp_path):
        registry = reopen(home)
        kept = registry.get("parent:production")
        if [version.number for version in registry.versions("parent")] == [2, 1]:
            remove_and_collect(registry)
        registry.gc(grace_s=0)
        assert stored(registry) == {kept.id}
        assert registry.verify().is_ok
        registry.close()


def test_what_a_living_process_stages_is_not_swept(registry: Registry, medley_home: Path) -> None:
    dead = medley_home / "store" / "tmp" / "dead"
    dead.mkdir()
    (dead / "f").write_text("x")
    (medley_home / "store" / "tmp" / "dead.owner").touch()
    (medley_home / "store" / "tmp" / "ownerless").mkdir()
    (medley_home / "store" / "tmp" / "stray").write_text("x")
    with registry._store.staging() as staged:
        staged.mkdir()
        (staged / "f").write_text("x")
        open_registry(medley_home)
        assert sorted(os.listdir(staged.parent)) == sorted([staged.name, f"{staged.name}.owner"])
        assert (staged / "f").read_text() == "x"
    assert os.listdir(staged.parent) == []


def test_a_folder_left_by_a_crash_is_adopted(registry: Registry, make_folder: MakeFolder) -> None:
    """The publisher died between the rename and the transaction; its folder is used, not written again."""
    version = registry.publish("adapter", "pirate", make_folder())
    inode = version.path.stat().st_ino
    for statement in ("UPDATE names SET newest = NULL", "DELETE FROM versions", "DELETE FROM contents"):
        registry._connection.execute(statement)
    assert registry.verify().unreferenced == [version.id]
    again = registry.publish("adapter", "pirate", make_folder())
    assert (again.id, again.path.stat().st_ino) == (version.id, inode)
    assert registry.verify().unreferenced == []


def test_a_wrong_folder_left_behind_is_replaced(registry: Registry, make_folder: MakeFolder) -> None:
    version = registry.publish("adapter", "pirate", make_folder())
    for statement in ("UPDATE names SET newest = NULL", "DELETE FROM versions", "DELETE FROM contents"):
        registry._connection.execute(statement)
    version.path.chmod(0o755)
    (version.path / "adapter_config.json").unlink()
    (version.path / "adapter_config.json").write_bytes(b'{"r": 9}')
    again = registry.publish("adapter", "pirate", make_folder())
    assert (again.path / "adapter_config.json").read_bytes() == b'{"r": 4}'
    assert registry.verify().is_ok


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        result = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("this machine has no mount command")
    if result.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {result.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def publish_or_error(registry: Registry, folder: Path) -> StorageError | None:
    try:
        registry.publish("adapter", "pirate", folder, metadata={"notes": ["y" * 30_000]})
    except StorageError as error:
        return error
    return None


def test_a_full_disk_changes_nothing(tiny_disk: Path, make_folder: MakeFolder) -> None:
    """Whatever is full first, the store or the database: one line, nothing visible, no rubbish, and then it works."""
    registry = open_registry(tiny_disk)
    first = registry.publish("adapter", "first", make_folder({"f": b"1"}))
    folder = make_folder({"weights": bytes(range(256)) * 400, "sub/readme": b"x" * 5000})
    causes = []
    for spare_kb in range(0, 260, 4):
        ballast = tiny_disk / "ballast"
        free = os.statvfs(tiny_disk).f_bavail * os.statvfs(tiny_disk).f_bsize
        ballast.write_bytes(b"\0" * max(0, free - spare_kb * 1024))
        error = publish_or_error(registry, folder)
        ballast.unlink()
        assert os.listdir(tiny_disk / "store" / "tmp") == []
        assert registry.verify().is_ok
        if error is None:
            break
        causes.append(type(error.__cause__))
        assert str(error) == (
            f"'pirate' was not published to {tiny_disk}: the disk is full. Free some space and try again."
        )
        assert [version.label for version in registry.list()] == ["first:v1"]
        registry.gc(grace_s=0)
        assert stored(registry) == {first.id}
    assert set(causes) == {OSError, sqlite3.OperationalError}
    assert registry.get("pirate").label == "pirate:v1"
    registry.close()


def test_a_read_only_disk(tiny_disk: Path, make_folder: MakeFolder) -> None:
    open_registry(tiny_disk).close()
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(StorageError) as caught:
        open_registry(tiny_disk).publish("adapter", "pirate", make_folder())
    assert "\n" not in str(caught.value)
    assert "cannot be written" in str(caught.value) or "read-only" in str(caught.value)


def test_a_file_size_limit(registry: Registry, make_folder: MakeFolder) -> None:
    """Works without root: a write that the system cuts off is cleaned up like a full disk."""
    folder = make_folder({"small": b"x" * 1000, "weights": b"y" * 3_000_000})
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(StorageError) as caught:
            registry.publish("adapter", "pirate", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    message = f"'pirate' was not published to {registry.home}: a file would be larger than is allowed here."
    assert str(caught.value) == message
    assert registry.list() == []
    assert stored(registry) == set()
    assert os.listdir(registry.home / "store" / "tmp") == []
    assert registry.publish("adapter", "pirate", folder).label == "pirate:v1"


def test_an_interrupted_publish_cleans_up(registry: Registry, make_folder: MakeFolder) -> None:
    """Ctrl-C in the middle of the copy."""
    import hub.files

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub.files.os, "fchmod", interrupt)
        with pytest.raises(KeyboardInterrupt):
            registry.publish("adapter", "pirate", make_folder())
    assert os.listdir(registry.home / "store" / "tmp") == []
    assert registry.list() == []

"""Removal in two steps: hidden first, collected later, and never what something still needs."""

import contextlib
import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub import Parent, Registry, open_registry
from medley.errors import ConflictError, NotFoundError, ParameterError

MakeFolder = Callable[..., Path]


def stored(registry: Registry) -> set[str]:
    return {path.name for path in (registry.home / "store").glob("??/*")}


def test_hide_restore_collect(registry: Registry, make_folder: MakeFolder) -> None:
    first = registry.publish("adapter", "pirate", make_folder({"f": b"1", "sub/g": b"22"}))
    second = registry.publish("adapter", "pirate", make_folder({"f": b"2"}))
    hidden = registry.remove("pirate")
    assert (hidden.label, hidden.is_hidden, second.is_hidden) == ("pirate:v2", True, False)
    assert registry.get("pirate").label == "pirate:v1"
    with pytest.raises(NotFoundError) as caught:
        registry.get("pirate:v2")
    assert str(caught.value) == "pirate:v2 was removed. Restore it, or choose another version of 'pirate'."
    with pytest.raises(NotFoundError, match=r"^sha256:[0-9a-f]{64} \(pirate:v2\) was removed\. Restore it first\.$"):
        registry.get(second.id)
    assert registry.restore("pirate:v2").is_hidden is False
    assert registry.get("pirate").label == "pirate:v2"

    registry.remove("pirate:v1")
    waiting = registry.gc()
    assert (waiting.removed, waiting.folders, waiting.waiting) == ([], [], ["pirate:v1"])
    report = registry.gc(grace_s=0)
    assert (report.removed, report.folders, report.freed_bytes, report.waiting) == (["pirate:v1"], [first.id], 3, [])
    assert stored(registry) == {second.id}
    assert registry.verify().is_ok
    with pytest.raises(NotFoundError) as caught:
        registry.restore("pirate:v1")
    assert str(caught.value) == "There is no pirate:v1 to restore: it never was, or gc has collected it."
    with pytest.raises(ParameterError, match=r"^Say which version to restore, for example 'pirate:v3'\.$"):
        registry.restore("pirate")


def test_numbers_are_never_used_again(registry: Registry, make_folder: MakeFolder) -> None:
    folder = make_folder()
    for number in (1, 2, 3):
        assert registry.publish("adapter", "pirate", folder).number == number
        registry.remove("pirate")
        registry.gc(grace_s=0)
    assert registry.list() == []
    assert stored(registry) == set()


def test_publishing_a_hidden_content_again_brings_it_back(registry: Registry, make_folder: MakeFolder) -> None:
    folder = make_folder()
    registry.publish("adapter", "pirate", folder)
    registry.remove("pirate")
    again = registry.publish("adapter", "pirate", folder)
    assert (again.label, again.is_hidden) == ("pirate:v1", False)
    assert registry.gc(grace_s=0).removed == []


def test_a_version_in_use_needs_force(registry: Registry, make_folder: MakeFolder) -> None:
    parent = registry.publish("adapter", "pirate", make_folder({"f": b"1"}))
    for index in range(5):
        registry.publish(
            "adapter", f"child-{index}", make_folder({"f": b"c%d" % index}), parents=[Parent(parent.id, "init")]
        )
    registry.set_alias("pirate", "production", 1)
    with pytest.raises(ConflictError) as caught:
        registry.remove("pirate")
    assert str(caught.value) == (
        "pirate:v1 cannot be removed: the alias production points at it; child-0:v1, child-1:v1, child-2:v1 and 2 more "
        "came from it. Remove it all the same with --force."
    )
    registry.remove("pirate", force=True)
    assert registry.gc(grace_s=0).removed == ["pirate:v1"]
    child = registry.get("child-0")
    assert registry.parents(child.id) == [("init", None)]
    assert registry.lineage("child-0").edges == [(parent.id, child.id, "init")]
    assert [(move.from_number, move.to_number) for move in registry.alias_history("pirate", "production")] == [
        (None, 1),
        (1, None),
    ]
    assert registry.verify().is_ok


def test_a_content_under_two_names_stays_for_the_other(registry: Registry, make_folder: MakeFolder) -> None:
    folder = make_folder()
    version = registry.publish("adapter", "pirate", folder)
    registry.publish("adapter", "corsair", folder)
    registry.publish("adapter", "child", make_folder({"f": b"c"}), parents=[Parent(version.id, "init")])
    registry.remove("pirate")  # its child keeps the content through the other name
    assert registry.gc(grace_s=0).folders == []
    assert registry.get("corsair").id == version.id
    with pytest.raises(ConflictError, match="child:v1 came from it"):
        registry.remove("corsair")
    assert registry.verify().is_ok


def test_a_hidden_version_that_became_a_parent_waits(registry: Registry, make_folder: MakeFolder) -> None:
    """A job that started before the removal may publish a child after it."""
    parent = registry.publish("adapter", "pirate", make_folder({"f": b"1"}))
    registry.remove("pirate")
    registry.publish("adapter", "child", make_folder({"f": b"2"}), parents=[Parent(parent.id, "init")])
    report = registry.gc(grace_s=0)
    assert (report.removed, report.waiting) == ([], ["pirate:v1"])
    registry.remove("child")
    assert registry.gc(grace_s=0).removed == ["child:v1", "pirate:v1"]
    assert stored(registry) == set()


def test_a_hidden_child_keeps_its_hidden_parent(registry: Registry, make_folder: MakeFolder) -> None:
    """As long as the child can be restored, its lineage stays whole."""
    parent = registry.publish("adapter", "pirate", make_folder({"f": b"1"}))
    registry.publish("adapter", "child", make_folder({"f": b"2"}), parents=[Parent(parent.id, "init")])
    registry.remove("child")
    registry.remove("pirate")
    registry._connection.execute("UPDATE versions SET hidden = hidden - 7200 WHERE name = 'pirate'")
    assert registry.gc().waiting == ["child:v1", "pirate:v1"]
    child = registry.restore("child:v1")
    assert [(role, version and version.label) for role, version in registry.parents(child.id)] == [
        ("init", "pirate:v1")
    ]


def test_what_crashed_publishers_left_is_collected(registry: Registry, make_folder: MakeFolder) -> None:
    kept = registry.publish("adapter", "pirate", make_folder())
    stray = registry.home / "store" / "00" / ("00" * 32)
    (stray / "sub").mkdir(parents=True)
    (stray / "sub" / "f").write_text("12345")
    (stray / "sub").chmod(0o555)
    stray.chmod(0o555)
    report = registry.gc()
    assert (report.folders, report.freed_bytes) == (["00" * 32], 5)
    assert stored(registry) == {kept.id}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "publish", "remove", "force", "restore", "alias", "gc"]),
        st.integers(0, 2),  # which name
        st.integers(1, 4),  # which content, number or parent
    ),
    max_size=25,
)


def take_step(registry: Registry, folders: list[Path], verb: str, name: str, choice: int) -> None:
    if verb == "publish":
        older = registry.list(limit=choice)
        parents = [Parent(older[-1].id, "input")] if older and choice % 2 else []
        registry.publish("adapter", name, folders[choice], parents=parents)
    elif verb in ("remove", "force"):
        registry.remove(f"{name}:v{choice}", force=verb == "force")
    elif verb == "restore":
        registry.restore(f"{name}:v{choice}")
    elif verb == "alias":
        registry.set_alias(name, "production", choice)
    else:
        registry.gc(grace_s=0)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_nothing_in_use_is_collected(steps: list[tuple[str, int, int]]) -> None:
    """Any order of steps: every visible version is whole, numbers only grow, gc leaves exactly what is on record."""
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / f"content-{index}" for index in range(5)]
        for folder in folders:
            folder.mkdir()
            (folder / "f").write_text(folder.name)
        registry = open_registry(Path(name) / "home")
        given_out: dict[str, str] = {}
        for verb, name_index, choice in steps:
            with contextlib.suppress(NotFoundError, ConflictError):
                take_step(registry, folders, verb, f"name-{name_index}", choice)
            report = registry.verify()
            assert report.is_ok
            for latest in registry.list():
                for version in registry.versions(latest.name):
                    assert given_out.setdefault(version.label, version.id) == version.id
            if verb == "gc":
                assert report.unreferenced == []
                assert len(stored(registry)) == report.checked
        registry.close()


def collect_as(user: int, folder: Path) -> None:
    """Publish, remove and collect with that user's powers; also sweeps what a dead process left."""
    os.setgid(user)
    os.setuid(user)
    registry = open_registry(folder / "home")
    registry.publish("adapter", "pirate", folder / "files")
    registry.remove("pirate")
    left = folder / "home" / "store" / "tmp" / "left"
    (left / "sub").mkdir(parents=True)
    (left / "sub" / "f").write_text("x")
    for path in (left / "sub", left):
        path.chmod(0o555)
    assert registry.gc(grace_s=0).freed_bytes == 2
    assert stored(registry) == set()
    assert os.listdir(left.parent) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without root's powers")
def test_gc_works_without_roots_powers() -> None:
    """Root may write into folders of mode 0555; a user may not, and must still be able to collect them."""
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files" / "sub" / "deeper").mkdir(parents=True)
        (folder / "files" / "f").write_text("1")
        (folder / "files" / "sub" / "deeper" / "g").write_text("2")
        os.chown(folder, nobody, nobody)
        child = os.fork()
        if child == 0:
            try:
                collect_as(nobody, folder)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

"""The graph of what was made from what."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Parent, Registry, Version


@pytest.fixture
def family(registry: Registry, make_folder: Callable[..., Path]) -> dict[str, Version]:
    """base and two datasets -> two adapters -> a merge -> a report; and an adapter that is no relation of the merge."""

    def publish(kind: str, name: str, *parents: tuple[str, str]) -> None:
        made_from = [Parent(versions[parent].id, role) for parent, role in parents]
        versions[name] = registry.publish(kind, name, make_folder({name: name.encode()}), parents=made_from)

    versions: dict[str, Version] = {}
    publish("base", "small")
    publish("dataset", "ships")
    publish("dataset", "poems")
    publish("adapter", "pirate", ("small", "base"), ("ships", "data"))
    publish("adapter", "poet", ("small", "base"), ("poems", "data"))
    publish("adapter", "blend", ("small", "base"), ("pirate", "input"), ("poet", "input"))
    publish("report", "blend-report", ("blend", "subject"))
    publish("adapter", "loner", ("small", "base"), ("ships", "data"))
    return versions


def test_parents_and_children(registry: Registry, family: dict[str, Version]) -> None:
    parents = registry.parents(family["blend"].id)
    assert sorted((role, version.label) for role, version in parents if version) == [
        ("base", "small:v1"),
        ("input", "pirate:v1"),
        ("input", "poet:v1"),
    ]
    assert [child.label for child in registry.children(family["ships"].id)] == ["pirate:v1", "loner:v1"]
    assert registry.children(family["blend-report"].id) == []


def test_lineage_has_all_ancestors_and_descendants_and_nobody_else(
    registry: Registry, family: dict[str, Version]
) -> None:
    lineage = registry.lineage("pirate")
    assert lineage.root == family["pirate"].id
    assert [node.name for node in lineage.nodes] == ["small", "ships", "pirate", "blend", "blend-report"]
    name_of = {version.id: name for name, version in family.items()}
    assert sorted((name_of[parent], name_of[child], role) for parent, child, role in lineage.edges) == [
        ("blend", "blend-report", "subject"),
        ("pirate", "blend", "input"),
        ("ships", "pirate", "data"),
        ("small", "blend", "base"),
        ("small", "pirate", "base"),
    ]
    assert len(registry.lineage("small").nodes) == 6  # not the datasets, which are not made from it


def test_an_unknown_parent_keeps_its_edge(registry: Registry, make_folder: Callable[..., Path]) -> None:
    """A pulled adapter may name parents that were never here."""
    child = registry.publish("adapter", "child", make_folder(), parents=[Parent("ab" * 32, "input")])
    assert registry.parents(child.id) == [("input", None)]
    lineage = registry.lineage("child")
    assert [node.label for node in lineage.nodes] == ["child:v1"]
    assert lineage.edges == [("ab" * 32, child.id, "input")]


def test_one_parent_in_two_roles(registry: Registry, make_folder: Callable[..., Path]) -> None:
    start = registry.publish("adapter", "start", make_folder({"f": b"1"}))
    parents = [Parent(start.id, "init"), Parent(start.id, "reference"), Parent(start.id, "init")]
    child = registry.publish("adapter", "aligned", make_folder({"f": b"2"}), parents=parents)
    assert [role for role, _ in registry.parents(child.id)] == ["init", "reference"]
    assert [version.label for version in registry.children(start.id)] == ["aligned:v1"]
    assert registry.verify().is_ok


def test_a_shared_content_is_one_node_under_its_newest_name(
    registry: Registry, make_folder: Callable[..., Path], family: dict[str, Version]
) -> None:
    parents = [Parent(family["small"].id, "base"), Parent(family["ships"].id, "data")]
    twin = registry.publish("adapter", "corsair", make_folder({"pirate": b"pirate"}), parents=parents)
    assert twin.id == family["pirate"].id
    names = [node.name for node in registry.lineage("blend").nodes]
    assert "corsair" in names
    assert "pirate" not in names
    registry.remove("corsair")
    assert "pirate" in [node.name for node in registry.lineage("blend").nodes]

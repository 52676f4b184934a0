"""Publishing, finding and listing versions."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hub
from hub import Parent, Registry, open_registry
from hub.manifest import FileEntry
from medley.errors import InvalidNameError, NotFoundError, ParameterError, StorageError, UserError

MakeFolder = Callable[..., Path]


def test_a_published_version_is_a_read_only_copy(registry: Registry, make_folder: MakeFolder) -> None:
    folder = make_folder({"a.json": b"{}", "deep/er/b.txt": b"hello"})
    version = registry.publish(
        "adapter", "pirate", folder, base="org/base", base_revision="abc", recipe="r: 1\n", metadata={"rank": 4}
    )
    assert (version.kind, version.name, version.number, version.label) == ("adapter", "pirate", 1, "pirate:v1")
    assert (version.base, version.base_revision, version.recipe) == ("org/base", "abc", "r: 1\n")
    assert version.metadata == {"rank": 4}
    assert version.size_bytes == 7
    assert version.path == registry.home / "store" / version.id[:2] / version.id
    assert (version.path / "deep/er/b.txt").read_bytes() == b"hello"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [version.path, *version.path.rglob("*")]}
    assert modes == {version.id: 0o555, "a.json": 0o444, "deep": 0o555, "er": 0o555, "b.txt": 0o444}
    assert os.listdir(registry.home / "store" / "tmp") == []
    (folder / "a.json").write_bytes(b"changed")
    assert (version.path / "a.json").read_bytes() == b"{}"


def test_the_id_is_the_hash_of_the_manifest(registry: Registry, make_folder: MakeFolder) -> None:
    """Written out by hand, so that no change of the code changes the ids that people have noted down."""
    import hashlib

    parent = Parent("ab" * 32, "base")
    version = registry.publish("dataset", "tiny", make_folder({"b": b"2", "a": b"1"}), base="x/y", parents=[parent])
    files = ",".join(f'["{name}",1,"{hashlib.sha256(text).hexdigest()}"]' for name, text in [("a", b"1"), ("b", b"2")])
    manifest = (
        f'{{"base":"x/y","base_revision":null,"files":[{files}],"format":1,"kind":"dataset",'
        f'"parents":[["base","{"ab" * 32}"]],"recipe":null}}'
    )
    assert version.id == hashlib.sha256(manifest.encode()).hexdigest()
    assert registry.files(version.id)[0] == FileEntry("a", 1, hashlib.sha256(b"1").hexdigest())


def test_everything_but_name_time_and_metadata_decides_the_id(registry: Registry, make_folder: MakeFolder) -> None:
    folder = make_folder()
    first = registry.publish("adapter", "a", folder, metadata={"x": 1})
    assert registry.publish("adapter", "b", folder, metadata={"x": 2}).id == first.id
    others = [
        registry.publish("model", "c", folder),
        registry.publish("adapter", "d", folder, base="org/base"),
        registry.publish("adapter", "d", folder, base="org/base", base_revision="r1"),
        registry.publish("adapter", "d", folder, recipe="r: 2"),
        registry.publish("adapter", "d", folder, parents=[Parent(first.id, "init")]),
        registry.publish("adapter", "d", folder, parents=[Parent(first.id, "input")]),
        registry.publish("adapter", "d", make_folder({"other": b""})),
    ]
    assert len({first.id, *(version.id for version in others)}) == 8
    assert [version.number for version in others] == [1, 1, 2, 3, 4, 5, 6]


def test_the_same_content_makes_no_new_version(registry: Registry, make_folder: MakeFolder) -> None:
    old, new = make_folder({"f": b"old"}), make_folder({"f": b"new"})
    registry.publish("adapter", "pirate", old, metadata={"rank": 4})
    registry.publish("adapter", "pirate", new)
    assert registry.publish("adapter", "pirate", new).number == 2
    again = registry.publish("adapter", "pirate", old, metadata={"rank": 5, "note": "later"})
    assert again.number == 1
    assert again.metadata == {"rank": 4, "note": "later"}
    assert [version.number for version in registry.versions("pirate")] == [2, 1]
    assert registry.get("pirate").number == 2


def test_references_find_versions(registry: Registry, make_folder: MakeFolder) -> None:
    first = registry.publish("adapter", "pirate", make_folder({"f": b"1"}))
    second = registry.publish("adapter", "pirate", make_folder({"f": b"2"}))
    registry.set_alias("pirate", "production", 1)
    for reference, version in {
        "pirate": second,
        "pirate:latest": second,
        "pirate:v1": first,
        "pirate:production": first,
        f"sha256:{second.id[:8]}": second,
        second.id: second,
    }.items():
        assert registry.get(reference).label == version.label
    assert registry.get("pirate:v1").aliases == ("production",)
    assert registry.get("pirate", kind="adapter").id == second.id


def test_what_is_not_there_is_named_with_what_is(registry: Registry, make_folder: MakeFolder) -> None:
    registry.publish("adapter", "pirate", make_folder())
    registry.set_alias("pirate", "production", 1)
    messages = {
        ("priate", None): "There is no version named 'priate'. Did you mean 'pirate'?",
        ("priate", "adapter"): "There is no adapter named 'priate'. Did you mean 'pirate'?",
        ("priate", "dataset"): "There is no dataset named 'priate'.",
        ("pirate", "dataset"): "'pirate' is an adapter, not a dataset.",
        ("pirate:v2", None): "'pirate' has no version v2. Its versions: v1.",
        ("pirate:v999999999", None): "'pirate' has no version v999999999. Its versions: v1.",
        ("pirate:prod", None): "'pirate' has no alias 'prod'. Its aliases: production; its versions: v1.",
        ("sha256:00000000", None): "Nothing here has the id sha256:00000000.",
    }
    for (reference, kind), message in messages.items():
        with pytest.raises(NotFoundError) as caught:
            registry.get(reference, kind)
        assert str(caught.value) == message
    assert not registry.exists("priate")
    assert not registry.exists("../../etc")
    assert registry.exists("pirate")


def test_an_ambiguous_id_prefix_is_an_error(registry: Registry, make_folder: MakeFolder) -> None:
    version = registry.publish("adapter", "pirate", make_folder())
    twin = version.id[:8] + "0" * 56
    with registry._connection as connection:
        connection.execute("INSERT INTO contents SELECT ?, kind, base, base_revision, size_bytes, created, recipe, "
                           "metadata, manifest FROM contents", (twin,))  # fmt: skip
    with pytest.raises(NotFoundError) as caught:
        registry.get(f"sha256:{version.id[:8]}")
    assert str(caught.value) == f"sha256:{version.id[:8]} is the beginning of several ids. Give more of its digits."
    assert registry.get(f"sha256:{version.id[:20]}").id == version.id


def test_list_shows_the_newest_version_of_each_name(registry: Registry, make_folder: MakeFolder) -> None:
    for name, text in [("a", b"1"), ("b", b"2"), ("c", b"3"), ("a", b"4")]:
        registry.publish("adapter", name, make_folder({"f": text}), base="Org/Small-Base" if name == "b" else None)
    registry.publish("dataset", "d", make_folder({"f": b"5"}))
    assert [version.label for version in registry.list()] == ["d:v1", "a:v2", "c:v1", "b:v1"]
    assert [version.label for version in registry.list("adapter", limit=2)] == ["a:v2", "c:v1"]
    assert [version.label for version in registry.list(limit=None, search="small-BASE b")] == ["b:v1"]
    assert registry.list(search="%") == []
    assert (registry.count(), registry.count("adapter"), registry.count("report")) == (4, 3, 0)


def test_a_name_belongs_to_one_kind(registry: Registry, make_folder: MakeFolder) -> None:
    assert registry.kind_of("pirate") is None
    registry.publish("adapter", "pirate", make_folder())
    with pytest.raises(InvalidNameError, match=r"^The name 'pirate' belongs to a version of kind adapter\. Choose"):
        registry.publish("dataset", "pirate", make_folder({"rows": b"1"}))
    registry.remove("pirate")
    assert registry.kind_of("pirate") == "adapter"  # it may still be restored
    registry.gc(grace_s=0)
    assert registry.kind_of("pirate") is None
    assert registry.publish("dataset", "pirate", make_folder({"rows": b"1"})).label == "pirate:v2"


def test_metadata_belongs_to_the_content_and_may_change(registry: Registry, make_folder: MakeFolder) -> None:
    version = registry.publish(
        "adapter", "a", make_folder(), metadata={"loss": float("nan"), "rank": 4, "notes": ["x"]}
    )
    assert version.metadata == {"loss": None, "rank": 4, "notes": ["x"]}
    registry.publish("adapter", "b", make_folder())
    updated = registry.update_metadata(version.id, metrics={"eval_loss": 1.5}, rank=None)
    assert updated.metadata == {"loss": None, "notes": ["x"], "metrics": {"eval_loss": 1.5}}
    assert registry.get("a").metadata == registry.get("b").metadata == updated.metadata
    with pytest.raises(NotFoundError, match=r"^Nothing here has the id '00"):
        registry.update_metadata("00" * 32, rank=4)
    with pytest.raises(TypeError):
        registry.publish("adapter", "c", make_folder(), metadata={"path": Path("/x")})
    assert not registry.exists("c")


def test_what_cannot_be_published(registry: Registry, make_folder: MakeFolder, tmp_path: Path) -> None:
    linked, piped, empty = make_folder(), make_folder(), tmp_path / "empty"
    (linked / "link").symlink_to("/etc/passwd")
    os.mkfifo(piped / "pipe")
    (empty / "folder").mkdir(parents=True)
    linked_folder = make_folder()
    (linked_folder / "sub").symlink_to(tmp_path)
    cases: list[tuple[Path, dict[str, object], type[UserError], str]] = [
        (linked, {}, StorageError, "'link' is a symbolic link; a version holds plain files only."),
        (linked_folder, {}, StorageError, "'sub' is a symbolic link; a version holds plain files only."),
        (piped, {}, StorageError, "'pipe' is a special file; a version holds plain files only."),
        (empty, {}, NotFoundError, "holds no files, so there is nothing to publish."),
        (tmp_path / "absent", {}, NotFoundError, "There is no folder "),
        (
            make_folder(),
            {"base": "/home/me/model"},
            ParameterError,
            "base must be a Hub id or folder:<digest>, got '/ho",
        ),
        (make_folder(), {"base": "../model"}, ParameterError, "base must be a Hub id or folder:<digest>, got '../mod"),
        (make_folder(), {"parents": [Parent("abc", "base")]}, ParameterError, "A parent must be a whole id of 64 hex"),
    ]
    for folder, settings_, error, message in cases:
        with pytest.raises(error) as caught:
            registry.publish("adapter", "pirate", folder, **settings_)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(
        ParameterError, match=r"^kind must be one of base, dataset, adapter, model, report, got 'lora'\.$"
    ):
        registry.publish("lora", "pirate", make_folder())
    assert registry.list() == []
    assert os.listdir(registry.home / "store" / "tmp") == []
    assert registry.verify().unreferenced == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(
        st.lists(st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=12)
                 .filter(lambda part: part not in {".", ".."} and len(part.encode()) < 100), min_size=1, max_size=3)
        .map("/".join),
        st.binary(max_size=200),
        min_size=1,
        max_size=5,
    )
)  # fmt: skip
def test_any_set_of_files_round_trips(
    registry: Registry, tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    """Whatever the names and bytes: what comes out is what went in, and the same again has the same id."""
    folders = [tmp_path_factory.mktemp("any"), tmp_path_factory.mktemp("any")]
    kept = {path: data for path, data in files.items() if not any(other.startswith(path + "/") for other in files)}
    for folder, order in zip(folders, (sorted(kept), sorted(kept, reverse=True)), strict=True):
        for path in order:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(kept[path])
    versions = [registry.publish("report", f"copy-{index}", folder) for index, folder in enumerate(folders)]
    assert versions[0].id == versions[1].id
    stored = versions[0].path
    found = {path.relative_to(stored).as_posix(): path for path in stored.rglob("*") if path.is_file()}
    assert {path: file.read_bytes() for path, file in found.items()} == kept
    assert registry.verify(versions[0].id).is_ok


def test_threads_may_share_a_registry(registry: Registry, make_folder: MakeFolder) -> None:
    from concurrent.futures import ThreadPoolExecutor

    folders = [make_folder({"f": bytes([index])}) for index in range(12)]
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda folder: registry.publish("adapter", "shared", folder).number, folders))
    assert sorted(numbers) == list(range(1, 13))


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medley_home: Path) -> None:
    assert hub.home_dir() == medley_home
    assert not medley_home.exists()
    monkeypatch.setenv("MEDLEY_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert hub.home_dir().name == "medley"
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"^The home folder .*file cannot be used: "):
        open_registry(tmp_path / "file")


def test_the_public_names_exist() -> None:
    assert all(getattr(hub, name) is not None for name in hub.__all__)
    with pytest.raises(AttributeError, match="module 'hub' has no attribute 'nothing'"):
        hub.nothing  # noqa: B018

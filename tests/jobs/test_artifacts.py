"""Names to things: a path, a registry name or a Hub id becomes an adapter; bases register themselves when needed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Registry, Version
from medley.errors import (
    AdapterFormatError,
    BaseModelError,
    HubError,
    InvalidNameError,
    NotFoundError,
    UserError,
)
from medley.jobs import add_base, base_folder, base_identity, base_of, find_adapter, find_base, import_spec
from medley.lm.adapter_file import file_sha256
from medley.lm.bundled import DEFAULT_BASE, DEFAULT_HUB_ID, bundled_gguf
from tests.tiny_model import TINY_BASE_ID


def test_a_name_an_id_and_a_path_find_the_same_adapter(
    registry: Registry, adapters: tuple[Version, Version], make_adapter: Callable[..., Path]
) -> None:
    left = adapters[0]
    for ref in ("left", "left:v1", f"sha256:{left.id[:12]}", left.id):
        found = find_adapter(registry, ref)
        assert (found.label, found.key, found.folder, found.base) == ("left:v1", left.id, left.path, TINY_BASE_ID)
    folder = left.path
    by_path = find_adapter(registry, str(folder))
    assert (by_path.label, by_path.version, by_path.base) == (folder.name, None, TINY_BASE_ID)
    assert by_path.key == file_sha256(folder / "adapter_model.safetensors")


def test_a_folder_comes_before_a_registry_name(
    registry: Registry,
    adapters: tuple[Version, Version],
    make_adapter: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_adapter("here/left", seed=9)
    monkeypatch.chdir(tmp_path / "here")
    assert find_adapter(registry, "left").version is None
    assert find_adapter(registry, "left", may_open_paths=False).version.id == adapters[0].id
    assert find_adapter(registry, "right").version.id == adapters[1].id


def test_what_means_nothing_is_said_so(registry: Registry, adapters: tuple[Version, Version], sums: Version) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_adapter(registry, "./nowhere/at all")
    assert str(caught.value).startswith("There is no folder '/")
    with pytest.raises(NotFoundError) as caught:
        find_adapter(registry, "leff")
    assert str(caught.value) == "There is no version named 'leff'. Did you mean 'left'?"
    with pytest.raises(InvalidNameError) as caught:
        find_adapter(registry, "sums")
    assert str(caught.value) == "'sums' is a dataset, not an adapter."
    with pytest.raises(HubError) as caught:
        find_adapter(registry, "org/adapter@main")
    assert str(caught.value) == "The Hub client is offline because HF_HUB_OFFLINE is set. Unset it and try again."
    with pytest.raises(InvalidNameError):
        find_adapter(registry, "/etc", may_open_paths=False)


@pytest.mark.parametrize("ref", ["~nobody-here/x", "/" + "a" * 5000, "a" * 5000, "a\0b", "./a\0b", "", "a/b/c"])
def test_odd_references_end_in_a_sentence(registry: Registry, ref: str) -> None:
    for find in (find_adapter, find_base, add_base):
        with pytest.raises(UserError) as caught:
            find(registry, ref)
        assert len(str(caught.value)) < 400
    with pytest.raises(UserError):
        import_spec(registry, ref, name="x")


def test_a_folder_is_checked_before_anything_opens_it(registry: Registry, make_adapter: Callable[..., Path]) -> None:
    folder = make_adapter("odd")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "auto_mapping": {"parent_library": "os"}}))
    with pytest.raises(AdapterFormatError):
        find_adapter(registry, str(folder))


def test_an_adapter_in_the_hub_s_cache_is_copied_and_checked(
    registry: Registry, make_adapter: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache holds links; what is opened later are plain files named by their content."""
    from huggingface_hub import constants

    commit = "a" * 40
    repo = tmp_path / "cache" / "models--org--left"
    shutil.copytree(make_adapter("left"), repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    found = find_adapter(registry, "org/left")
    assert (found.label, found.base, found.version) == ("org/left", TINY_BASE_ID, None)
    assert found.folder == registry.home / "cache" / "adapters" / found.key
    assert sorted(path.name for path in found.folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert find_adapter(registry, "org/left") == found
    assert [path.name for path in found.folder.parent.iterdir()] == [found.key]


def test_a_folder_becomes_a_base_of_its_own(registry: Registry, tiny_base: Path) -> None:
    version = add_base(registry, tiny_base)
    digest = version.metadata["weights_digest"]
    assert version.base == f"folder:{digest}"
    assert version.metadata["source"] == "folder"
    assert (version.metadata["architecture"], version.metadata["parameters"]) == ("LlamaForCausalLM", 30880)
    assert version.name.startswith("tiny-base")
    assert json.loads((version.path / "base.json").read_text()) == {
        "hub_id": None,
        "note": None,
        "revision": None,
        "source": "folder",
        "weights_digest": digest,
    }
    assert str(tiny_base) not in (version.path / "base.json").read_text()
    assert base_folder(registry, version) == tiny_base
    assert find_base(registry, str(tiny_base)).id == version.id
    assert add_base(registry, tiny_base, version.name).number == 1


def test_a_base_whose_folder_changed_or_went_is_refused(registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_base, tmp_path / "copy")
    version = add_base(registry, folder, "copy")
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BaseModelError) as caught:
        base_folder(registry, version)
    assert str(caught.value) == (
        f"The weights in {folder} have changed since 'copy' was added. Add the folder under a new name."
    )
    shutil.rmtree(folder)
    with pytest.raises(BaseModelError) as caught:
        base_folder(registry, version)
    assert str(caught.value) == f"The base 'copy' was at {folder}, and is there no more. Add it again."


def test_what_is_no_base_is_not_added(registry: Registry, make_adapter: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="it is an adapter, and a base model is needed"):
        add_base(registry, make_adapter("left"))
    with pytest.raises(BaseModelError, match="There is no folder"):
        add_base(registry, tmp_path / "absent")
    with pytest.raises(HubError):
        add_base(registry, "org/model")
    assert registry.list("base") == []


def test_a_base_is_found_by_name_and_by_hub_id(registry: Registry, base: Version) -> None:
    assert find_base(registry, "tiny").id == base.id
    assert find_base(registry, TINY_BASE_ID).id == base.id
    with pytest.raises(NotFoundError) as caught:
        find_base(registry, "org/model")
    assert str(caught.value) == "The base 'org/model' is not in the registry. Add it first: medley base add org/model"
    assert base_identity(registry, "tiny") == (TINY_BASE_ID, None)
    assert base_identity(registry, "org/model") == ("org/model", None)
    with pytest.raises(NotFoundError):
        base_identity(registry, "tinny")


def test_the_default_base_registers_itself(registry: Registry) -> None:
    version = find_base(registry)
    assert (version.name, version.base, version.base_revision) == (DEFAULT_BASE, DEFAULT_HUB_ID, None)
    assert version.metadata["source"] == ("bundled" if bundled_gguf() else "hub")
    assert find_base(registry, DEFAULT_HUB_ID).id == find_base(registry, DEFAULT_BASE).id == version.id
    assert [each.number for each in registry.versions(DEFAULT_BASE)] == [1]


def test_an_adapter_leads_to_its_base(
    registry: Registry, base: Version, adapters: tuple[Version, Version], make_adapter: Callable[..., Path]
) -> None:
    assert base_of(registry, adapters[0]).id == base.id
    assert base_of(registry, find_adapter(registry, "right")).id == base.id
    foreign = find_adapter(registry, str(make_adapter("foreign", base_id="org/Some_Model-1B")))
    from_hub = base_of(registry, foreign)
    assert (from_hub.name, from_hub.base, from_hub.metadata) == (
        "some_model-1b",
        "org/Some_Model-1B",
        {"source": "hub"},
    )
    assert base_of(registry, foreign).id == from_hub.id
    local = find_adapter(registry, str(make_adapter("local", base_id="../models/mine")))
    with pytest.raises(BaseModelError) as caught:
        base_of(registry, local)
    assert str(caught.value) == "local does not say which base model it belongs to. Import it with --base."
    orphan = registry.publish("adapter", "orphan", adapters[0].path, base="folder:" + "0" * 64)
    with pytest.raises(BaseModelError) as caught:
        base_of(registry, orphan)
    assert str(caught.value) == (
        "orphan:v1 belongs to a base model in a local folder that is not registered here (folder:000000000000). "
        "Add it: medley base add FOLDER"
    )

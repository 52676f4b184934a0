"""Adapters by name: from what a user writes (a path, a registry name, a Hub id) to a checked folder.

The registry keeps versions; this is where a reference becomes something that a merge or the engine can open.
Bases are next door in bases.py, and can be had from here as well.
"""

import dataclasses
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medley.errors import InvalidNameError, NotFoundError
from medley.jobs.bases import (
    HUB_ID,
    add_base,
    base_folder,
    base_identity,
    base_of,
    default_base,
    find_base,
    local_path,
    looks_like_path,
)
from medley.jobs.hub_client import Token, download
from medley.jobs.shadows import shadow_warning

if TYPE_CHECKING:
    from hub import Registry, Version

__all__ = [
    "FoundAdapter",
    "add_base",
    "base_folder",
    "base_identity",
    "base_of",
    "default_base",
    "find_adapter",
    "find_base",
    "means_folder",
]

CONFIG_FILE = "adapter_config.json"
ADAPTER_FILES = (CONFIG_FILE, "adapter_model.safetensors")


@dataclass(frozen=True)
class FoundAdapter:
    """An adapter that can be opened.

    Attributes:
        label: for people: "pirate:v3", a folder's name, or a Hub id.
        key: what its content is called: a version's id, else the sha256 of the weights file.
        folder: its files, checked.
        version: its registry version, or None.
        base, base_revision: the Hub id (or "folder:<digest>") that it belongs to, as far as is known.
        warning: a sentence where a folder was taken and the registry has something of that name, else None.
    """

    label: str
    key: str
    folder: Path
    version: "Version | None"
    base: str | None
    base_revision: str | None
    warning: str | None = None

    @property
    def is_reward_model(self) -> bool:
        """True for one that scores answers and writes none."""
        from medley.lm.adapter_file import open_adapter

        return open_adapter(self.folder).is_reward_model


def find_adapter(registry: "Registry", ref: str, *, may_open_paths: bool = True, token: Token = None) -> FoundAdapter:
    """The adapter that a reference means: a path first, then a registry name or id, then a Hub id.

    A path is what begins with `./`, `/` or `~`, or a folder that holds an adapter_config.json; a Hub id may end in
    `@revision`.

    Args:
        may_open_paths: False where strangers type the reference (the app); then a path is no reference.
        token: for a private repo on the Hub; False for none, None for what the environment has.

    Raises:
        NotFoundError, InvalidNameError: it means nothing.
        AdapterFormatError, ProblemsError: there is a folder or repo, but its adapter is not acceptable.
        HubError: the Hub does not know it, or cannot be asked.
    """
    if may_open_paths and means_folder(ref):
        return dataclasses.replace(_from_folder(local_path(ref)), warning=shadow_warning(registry, ref))
    if HUB_ID.fullmatch(ref.partition("@")[0]):
        return _from_hub(registry, ref, token)
    version = registry.get(ref)
    if version.kind != "adapter":
        article = "an" if version.kind[0] in "aeiou" else "a"
        raise InvalidNameError(f"'{ref}' is {article} {version.kind}, not an adapter.")
    return FoundAdapter(version.label, version.id, version.path, version, version.base, version.base_revision)


def means_folder(ref: str) -> bool:
    """Whether a reference is a path: it begins as one, or there is a folder of that name with an adapter in it."""
    return looks_like_path(ref) or os.path.isfile(os.path.join(ref, CONFIG_FILE))


def _from_folder(folder: Path) -> FoundAdapter:
    if not os.path.isdir(folder):  # unlike Path.is_dir, False for a name that is too long
        raise NotFoundError(f"There is no folder {str(folder)[:200]!a}.")
    base, revision, key = _check(folder)
    return FoundAdapter(folder.name, key, folder, None, base, revision)


def _check(folder: Path) -> tuple[str | None, str | None, str]:
    """Check an adapter's config, header and values; its base's Hub id, revision, and the digest of its weights."""
    from medley.lm.adapter_file import WEIGHTS_FILE, check_finite, file_sha256, hub_id, open_adapter

    adapter = open_adapter(folder)
    check_finite(adapter)
    base = hub_id(adapter.config.base_model) if adapter.config.base_model else None
    return base, adapter.config.revision if base else None, file_sha256(folder / WEIGHTS_FILE)


def _from_hub(registry: "Registry", ref: str, token: Token) -> FoundAdapter:
    """The repo's two adapter files, as plain files in the home folder's cache, checked like any other folder."""
    repo_id, _, revision = ref.partition("@")
    snapshot = download(repo_id, revision or None, ADAPTER_FILES, token=token)
    cache = registry.home / "cache" / "adapters"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="partial-") as partial:
        staged = Path(partial) / "adapter"
        staged.mkdir()
        for name in ADAPTER_FILES:
            if (snapshot / name).is_file():
                shutil.copyfile(snapshot / name, staged / name)
        base, base_revision, key = _check(staged)
        folder = cache / key
        if not folder.exists():
            staged.rename(folder)
    return FoundAdapter(ref, key, folder, None, base, base_revision)

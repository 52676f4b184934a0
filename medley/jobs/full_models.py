"""Full models by name: from what a user writes (a path, a registry name, a Hub id) to a folder with its weights.

A spec keeps a pinned mapping: a version's id, a folder with a stamp of its weight files, or a Hub id with its commit.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import InvalidNameError, NotFoundError
from medley.events import Emit
from medley.jobs.bases import BASE_FILES, HUB_ID, base_folder, find_base, folder_at_hand, local_path, looks_like_path
from medley.jobs.hub_client import download, latest_commit
from medley.jobs.shadows import shadow_warning

if TYPE_CHECKING:
    from hub import Registry, Version
    from medley.jobs.work import JobWork


@dataclass(frozen=True)
class FoundModel:
    """A full model that can be opened, or fetched first.

    Attributes:
        label: for people: "chef:v2", a folder's name, or a Hub id.
        pinned: what a spec keeps of it.
        folder: its files where they are on this machine already, else None.
        version: its registry version (of kind `model` or `base`), or None.
        warning: a sentence where a folder was taken and the registry has something of that name, else None.
    """

    label: str
    pinned: Mapping[str, Any]
    folder: Path | None
    version: "Version | None" = None
    warning: str | None = None


def find_model(registry: "Registry", ref: str) -> FoundModel:
    """The full model that a reference means: a folder, a registered model or base, or a Hub id (org/name@revision).

    Raises:
        NotFoundError, InvalidNameError: it means nothing, or something else.
        HubError: the Hub does not know it, or cannot be asked for its commit.
    """
    if looks_like_path(ref) or os.path.isfile(os.path.join(ref, "config.json")):
        return dataclasses.replace(_from_folder(local_path(ref)), warning=shadow_warning(registry, ref))
    repo_id, _, revision = ref.partition("@")
    if not HUB_ID.fullmatch(repo_id):
        return _from_version(registry, registry.get(ref))
    if not revision:
        try:
            return _from_version(registry, find_base(registry, ref))
        except NotFoundError:
            pass  # not registered; the Hub is asked
    commit = latest_commit(repo_id, revision or None)
    return FoundModel(ref, {"label": ref, "hub_id": repo_id, "revision": commit}, None)


def open_model(work: "JobWork", pinned: Mapping[str, Any], emit: Emit) -> Path:
    """The folder of a pinned model: verified, unpacked, or downloaded.

    Raises:
        NotFoundError: it is gone, or has changed since the job was made.
        StorageError, BaseModelError, HubError: why it cannot be had.
    """
    if "folder" in pinned:
        folder = Path(pinned["folder"])
        if not folder.is_dir() or _stamp(folder) != pinned["stamp"]:
            raise NotFoundError(f"The model '{pinned['label']}' is gone or has changed since the job was made.")
        return folder
    if "hub_id" in pinned:
        emit("progress", step=0, total=0, text=f"Downloading {pinned['hub_id']}")
        return download(pinned["hub_id"], pinned["revision"], BASE_FILES)
    version = work.registry.get(f"sha256:{pinned['version']}")
    return base_folder(work.registry, version, emit) if version.kind == "base" else work.input(version.id).path


def _from_folder(folder: Path) -> FoundModel:
    if not os.path.isdir(folder):
        raise NotFoundError(f"There is no folder {str(folder)[:200]!a}.")
    return FoundModel(folder.name, {"label": folder.name, "folder": str(folder), "stamp": _stamp(folder)}, folder)


def _from_version(registry: "Registry", version: "Version") -> FoundModel:
    if version.kind not in ("model", "base"):
        article = "an" if version.kind[0] in "aeiou" else "a"
        raise InvalidNameError(f"'{version.label}' is {article} {version.kind}, not a full model.")
    folder = folder_at_hand(registry, version) if version.kind == "base" else version.path
    return FoundModel(version.label, {"label": version.label, "version": version.id}, folder, version)


def _stamp(folder: Path) -> str:
    """Names, sizes and times of the weight files: cheap, and another after every change."""
    from medley.lm.base_folder import weight_files

    facts = [(path.name, (found := path.stat()).st_size, found.st_mtime_ns) for path in weight_files(folder)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()

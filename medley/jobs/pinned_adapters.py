"""Adapters as a spec keeps them: by content, so that nothing that happens to a name or a folder changes the job."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medley.errors import NotFoundError
from medley.jobs.artifacts import FoundAdapter
from medley.jobs.work import JobWork


def pinned(adapter: FoundAdapter) -> dict[str, Any]:
    """An input as the spec keeps it: a version's id, or a folder with the digest of its weights."""
    common = {"label": adapter.label, "base": adapter.base, "base_revision": adapter.base_revision}
    if adapter.version is not None:
        return {"version": adapter.key, **common}
    return {"folder": str(adapter.folder), "weights_sha256": adapter.key, **common}


def open_pinned(work: JobWork, kept: Mapping[str, Any]) -> Path:
    """The folder of an input, if it still holds the same weights.

    Raises:
        NotFoundError: it is gone, or holds others.
        StorageError: files of a version are missing or changed.
    """
    from medley.lm.adapter_file import WEIGHTS_FILE, file_sha256

    if "version" in kept:
        return work.input(kept["version"]).path
    folder = Path(kept["folder"])
    weights = folder / WEIGHTS_FILE
    if not weights.is_file() or file_sha256(weights) != kept["weights_sha256"]:
        raise NotFoundError(f"The adapter '{kept['label']}' is gone or has changed since the job was made.")
    return folder

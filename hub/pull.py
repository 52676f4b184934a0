"""An adapter, a model or a dataset from the Hub into the registry: pinned to a commit, checked like any import.

What a commit holds is listed before anything is fetched (fetch.py). The files then go the way of every folder of their
kind: through `hub.intake`, `hub.intake_model` or `hub.intake_dataset`. Large ones wait on the registry's own disk, and
whatever happens in between, nothing is left of them.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.deadline import default_timeout_s, run_within
from hub.fetch import Fetch, Listing
from hub.intake_model import Describe, check_model, nothing_more, publish_checked
from hub.names import check_name
from hub.remote import checked_repo_id, checked_token, quiet_client
from medley.errors import StorageError
from medley.events import Emit, ignore_event

if TYPE_CHECKING:
    from hub.intake_dataset import RowsReader
    from hub.records import Version
    from hub.registry import Registry

LISTING_TIMEOUT_S = 120.0
LATE = "The Hub did not send {} within {:g} seconds. Try again when the connection is better."


def pull(
    registry: "Registry",
    repo_id: str,
    name: str,
    *,
    kind: str | None = None,
    revision: str | None = None,
    token: str | bool | None = False,
    base: str | None = None,
    base_revision: str | None = None,
    rows: "RowsReader | None" = None,
    describe: Describe = nothing_more,
    endpoint: str | None = None,
    emit: Emit = ignore_event,
    timeout_s: float | None = None,
) -> "Version":
    """The version that now holds what a Hub repo has; `metadata["source"]` says which commit it is.

    Args:
        name: its name in the registry.
        kind: "adapter", "model" or "dataset"; told from the repo when not given.
        revision: a branch, tag or commit; the default branch otherwise.
        token: for private and gated repos; without one the request is anonymous, never the machine's own login.
        base: the base model, where the adapter's configuration names a path.
        base_revision: of that base.
        rows: how rows are read; needed for datasets.
        describe: gives further metadata for the checked files of a full model.
        timeout_s: when to give up, in seconds, for the listing and again for the files; by default two minutes, and
            three and what a slow line needs for the bytes.

    Raises:
        HubError: the Hub refuses, is out of reach, or sends other bytes than it promised.
        AdapterFormatError, ProblemsError: it is nothing that we take; nothing is downloaded or kept then.
        DatasetError: rows that cannot be used.
        StorageError: no space for the files.
    """
    checked_repo_id(repo_id)
    check_name(name)
    fetch = Fetch(repo_id, kind, revision, checked_token(token), endpoint, emit)
    with quiet_client():
        listing_s = timeout_s or LISTING_TIMEOUT_S
        listing = run_within(listing_s, fetch.listing, LATE.format(repo_id, listing_s))
        _tell_left_out(emit, listing.left_out)
        with _waiting_room(registry, listing) as room:
            folder = room / repo_id.split("/")[1]
            if listing.is_ours:
                _download(fetch, listing, folder, timeout_s)
            metadata = {"source": f"{repo_id}@{listing.commit}"}
            if listing.kind == "adapter":
                return _adapter(registry, folder, name, base, base_revision, metadata, emit)
            if listing.kind == "model":
                return _model(registry, folder, name, describe, metadata, emit)
            if rows is None:
                raise ValueError("a dataset is pulled with a RowsReader")
            return _dataset(registry, folder, name, listing, repo_id, metadata, rows)


def _download(fetch: Fetch, listing: Listing, folder: Path, timeout_s: float | None) -> None:
    within_s = timeout_s or default_timeout_s(listing.total_bytes)
    late = LATE.format(fetch.repo_id, within_s)
    run_within(within_s, lambda deadline: fetch.download(listing, folder, deadline), late)


def _adapter(
    registry: "Registry",
    folder: Path,
    name: str,
    base: str | None,
    base_revision: str | None,
    metadata: dict[str, Any],
    emit: Emit,
) -> "Version":
    from hub.intake import import_adapter

    version, left_out = import_adapter(
        registry, folder, name, base=base, base_revision=base_revision, metadata=metadata
    )
    _tell_left_out(emit, left_out)
    return version


def _model(
    registry: "Registry", folder: Path, name: str, describe: Describe, metadata: dict[str, Any], emit: Emit
) -> "Version":
    checked = check_model(folder, describe)
    _tell_left_out(emit, checked.left_out)
    return publish_checked(registry, "model", name, checked, metadata=metadata)


def _dataset(
    registry: "Registry",
    folder: Path,
    name: str,
    listing: Listing,
    repo_id: str,
    metadata: dict[str, Any],
    rows: "RowsReader",
) -> "Version":
    """Rows of ours as they are; those of others through the import that every file of rows goes through."""
    from hub.intake_dataset import check_dataset

    if listing.is_ours:
        return publish_checked(registry, "dataset", name, check_dataset(folder, rows), metadata=metadata)
    recipe, facts = rows.fetch(repo_id, listing.commit, folder)
    return registry.publish("dataset", name, folder, recipe=recipe, metadata={**facts, **metadata})


def _tell_left_out(emit: Emit, names: tuple[str, ...]) -> None:
    if names:
        emit("warning", text=f"Left out: {', '.join(names)}.")


@contextmanager
def _waiting_room(registry: "Registry", listing: Listing) -> Iterator[Path]:
    """A folder for the files until they are published, gone after the block."""
    if listing.kind == "adapter":
        with tempfile.TemporaryDirectory(prefix="medley-pull-", ignore_cleanup_errors=True) as temporary:
            yield Path(temporary)
        return
    with registry.scratch() as scratch:
        needed, free = 2 * listing.total_bytes, shutil.disk_usage(scratch).free
        if needed > free:
            raise StorageError(
                f"The pull needs {needed:,} bytes for a while, but only {free:,} are free in {registry.home}. "
                "Make room there, or set MEDLEY_HOME to another disk."
            )
        yield scratch

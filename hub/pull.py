"""An adapter from the Hub into the registry: pinned to a commit, listed before it is fetched, checked like any import.

Only files on the allow-list are downloaded, into a temporary folder; their hashes are compared with the Hub's, because
the client itself checks nothing but sizes. Then it goes the way of every folder, through `hub.intake`.
"""

import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hub.allow_list import MAX_ENTRIES, Entry, sort_entries
from hub.deadline import Deadline, default_timeout_s, run_within
from hub.names import check_name
from hub.remote import (
    Token,
    checked_repo_id,
    checked_token,
    open_client,
    plain_errors,
    quiet_client,
    same_as_listed,
    with_retries,
)
from medley.errors import HubError
from medley.events import Emit, ignore_event
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE, file_sha256

if TYPE_CHECKING:
    from huggingface_hub import RepoFile

    from hub.records import Version
    from hub.registry import Registry

LISTING_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Listing:
    """A commit of a repo: the files to fetch, and the names of what is left there."""

    commit: str
    files: tuple["RepoFile", ...]
    left_out: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)


def pull(
    registry: "Registry",
    repo_id: str,
    name: str,
    *,
    revision: str | None = None,
    token: str | bool | None = False,
    base: str | None = None,
    base_revision: str | None = None,
    endpoint: str | None = None,
    emit: Emit = ignore_event,
    timeout_s: float | None = None,
) -> "Version":
    """The version that now holds the adapter of a Hub repo; `metadata["source"]` says which commit it is.

    Args:
        name: its name in the registry.
        revision: a branch, tag or commit; the default branch otherwise.
        token: for private and gated repos; without one the request is anonymous, never the machine's own login.
        base: the base model, where the adapter's configuration names a path.
        base_revision: of that base.
        timeout_s: when to give up, in seconds, for the listing and again for the files; by default two minutes, and
            three and what a slow line needs for the bytes.

    Raises:
        HubError: the Hub refuses, is out of reach, or sends other bytes than it promised.
        AdapterFormatError, ProblemsError: it is no adapter that we take; nothing is downloaded or kept then.
    """
    from hub.intake import import_adapter

    checked_repo_id(repo_id)
    check_name(name)
    fetch = _Fetch(repo_id, revision, checked_token(token), endpoint, emit)
    late = f"The Hub did not send {repo_id} within {{:g}} seconds. Try again when the connection is better."
    listing_s = timeout_s or LISTING_TIMEOUT_S
    with quiet_client(), tempfile.TemporaryDirectory(prefix="medley-pull-", ignore_cleanup_errors=True) as temporary:
        listing = run_within(listing_s, fetch.listing, late.format(listing_s))
        if listing.left_out:
            emit("warning", text=f"Left out: {', '.join(listing.left_out)}.")
        folder = Path(temporary) / repo_id.split("/")[1]
        download_s = timeout_s or default_timeout_s(listing.total_bytes)
        run_within(download_s, lambda deadline: fetch.download(listing, folder, deadline), late.format(download_s))
        metadata = {"source": f"{repo_id}@{listing.commit}"}
        version, left_out = import_adapter(
            registry, folder, name, base=base, base_revision=base_revision, metadata=metadata
        )
    if left_out:
        emit("warning", text=f"Left out: {', '.join(left_out)}.")
    return version


class _Fetch:
    """The two steps of a pull that talk to the Hub."""

    def __init__(self, repo_id: str, revision: str | None, token: Token, endpoint: str | None, emit: Emit) -> None:
        self.repo_id, self.revision, self.emit = repo_id, revision, emit
        self.token, self.api = token, open_client(token, endpoint)

    def listing(self, deadline: Deadline) -> Listing:
        """What the revision's commit holds, sorted by the rules for every import."""
        with plain_errors(self.repo_id, self.api, self.revision):
            info = with_retries(deadline, lambda: self.api.model_info(self.repo_id, revision=self.revision))
            files = with_retries(deadline, lambda: self.tree(info.sha))
        if len(files) > MAX_ENTRIES:
            raise HubError(f"{self.repo_id} has more than {MAX_ENTRIES:,} files, so it is no adapter.")
        taken, left_out = sort_entries([_entry(file) for file in files], self.repo_id)
        missing = [part for part in (CONFIG_FILE, WEIGHTS_FILE) if part not in taken]
        if missing:
            raise HubError(f"{self.repo_id} is not an adapter: it has no {' and no '.join(missing)}.")
        return Listing(info.sha, tuple(file for file in files if file.path in taken), left_out)

    def tree(self, commit: str) -> list["RepoFile"]:
        entries = self.api.list_repo_tree(self.repo_id, recursive=True, revision=commit)
        return [entry for entry in islice(entries, MAX_ENTRIES + 1) if hasattr(entry, "blob_id")]

    def download(self, listing: Listing, folder: Path, deadline: Deadline) -> None:
        """Fetch the listed files into `folder`, each compared with what the Hub says it is."""
        staging = folder.with_name("staging")  # the client keeps its own notes beside what it downloads
        folder.mkdir()
        done = 0
        for file in listing.files:
            self.emit("progress", step=done, total=listing.total_bytes, text=f"Downloading {file.path}")
            with plain_errors(self.repo_id, self.api, self.revision):
                fetched = with_retries(deadline, lambda path=file.path: self.fetch(listing.commit, path, staging))
            self.check(file, fetched)
            deadline.check()
            fetched.rename(folder / file.path)
            done += file.size

    def fetch(self, commit: str, path: str, staging: Path) -> Path:
        return Path(self.api.hf_hub_download(self.repo_id, path, revision=commit, local_dir=staging, token=self.token))

    def check(self, file: "RepoFile", fetched: Path) -> None:
        """Compare with sha256 for large files and git's sha1 for the others, as the Hub lists them."""
        is_same = same_as_listed(fetched, file_sha256(fetched), fetched.stat().st_size, file)
        if not is_same:
            raise HubError(
                f"{file.path} of {self.repo_id} arrived with other bytes than the Hub lists (wrong hash). "
                "Nothing was imported; try again."
            )


def _entry(file: "RepoFile") -> Entry:
    return Entry(file.path, "file", file.size, _never_open)


def _never_open() -> BinaryIO:
    raise AssertionError("a listed file is downloaded, not opened")

"""The two steps of a pull that talk to the Hub: what a commit holds, and its files, each compared with what is listed.

Only files on the allow-list of the repo's kind are downloaded; their hashes are compared with the Hub's, because the
client itself checks nothing but sizes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from hub.allow_list import MAX_ENTRIES, Entry, sort_entries
from hub.deadline import Deadline
from hub.kind_lists import DATASET_REPORT, DATASET_SPLITS, MODEL_CONFIG, RULES, SINGLE_FILE
from hub.remote import Token, open_client, plain_errors, same_as_listed, with_retries
from medley.errors import HubError
from medley.events import Emit
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE, file_sha256

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, ModelInfo, RepoFile

RepoType = Literal["model", "dataset"]


@dataclass(frozen=True)
class Listing:
    """A commit of a repo.

    Attributes:
        kind: "adapter", "model" or "dataset".
        is_ours: False for a dataset that Medley did not write; nothing of it is to be fetched here then.
        files: what to fetch.
        left_out: the names of what is left there.
    """

    kind: str
    commit: str
    files: tuple["RepoFile", ...]
    left_out: tuple[str, ...]
    is_ours: bool = True

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)


class Fetch:
    """One pull's conversation with the Hub.

    Args:
        kind: what the repo should be; None to tell it from its files.
    """

    def __init__(
        self, repo_id: str, kind: str | None, revision: str | None, token: Token, endpoint: str | None, emit: Emit
    ) -> None:
        self.repo_id, self.kind, self.revision, self.emit = repo_id, kind, revision, emit
        self.token, self.api = token, open_client(token, endpoint)
        self.repo_type: RepoType = "dataset" if kind == "dataset" else "model"

    def listing(self, deadline: Deadline) -> Listing:
        """What the revision's commit holds, sorted by the rules for every import of its kind."""
        with plain_errors(self.repo_id, self.api, self.revision):
            commit = self.info(deadline).sha
            files = with_retries(deadline, lambda: self.tree(commit))
        paths = {file.path for file in files}
        kind = self.kind or self.kind_of(paths)
        if len(files) > MAX_ENTRIES:
            raise HubError(f"{self.repo_id} has more than {MAX_ENTRIES:,} files, so it is no {kind}.")
        if kind == "dataset" and not {DATASET_REPORT, DATASET_SPLITS[0]} <= paths:
            return Listing(kind, commit, (), (), is_ours=False)
        taken, left_out = sort_entries([_entry(file) for file in files], self.repo_id, RULES[kind])
        missing = _missing(kind, taken)
        if missing:
            noun = RULES[kind].noun
            raise HubError(f"{self.repo_id} is not {noun}: it has no {' and no '.join(missing)}.")
        return Listing(kind, commit, tuple(file for file in files if file.path in taken), left_out)

    def info(self, deadline: Deadline) -> "ModelInfo | DatasetInfo":
        """What the Hub says about the repo; where no kind was named and there is no model, about the dataset."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return with_retries(deadline, self.ask)
        except RepositoryNotFoundError as error:
            if self.kind is not None:
                raise
            self.repo_type = "dataset"
            try:
                return with_retries(deadline, self.ask)
            except RepositoryNotFoundError:
                raise error from None

    def ask(self) -> "ModelInfo | DatasetInfo":
        if self.repo_type == "dataset":
            return self.api.dataset_info(self.repo_id, revision=self.revision)
        return self.api.model_info(self.repo_id, revision=self.revision)

    def kind_of(self, paths: Collection[str]) -> str:
        if self.repo_type == "dataset":
            return "dataset"
        if CONFIG_FILE in paths or WEIGHTS_FILE in paths:
            return "adapter"
        if MODEL_CONFIG in paths:
            return "model"
        raise HubError(
            f"{self.repo_id} is neither an adapter nor a model: it has no {CONFIG_FILE} and no {MODEL_CONFIG}."
        )

    def tree(self, commit: str) -> list["RepoFile"]:
        entries = self.api.list_repo_tree(self.repo_id, recursive=True, revision=commit, repo_type=self.repo_type)
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
        return Path(
            self.api.hf_hub_download(
                self.repo_id, path, repo_type=self.repo_type, revision=commit, local_dir=staging, token=self.token
            )
        )

    def check(self, file: "RepoFile", fetched: Path) -> None:
        """Compare with sha256 for large files and git's sha1 for the others, as the Hub lists them."""
        is_same = same_as_listed(fetched, file_sha256(fetched), fetched.stat().st_size, file)
        if not is_same:
            raise HubError(
                f"{file.path} of {self.repo_id} arrived with other bytes than the Hub lists (wrong hash). "
                "Nothing was imported; try again."
            )


def _missing(kind: str, taken: Collection[str]) -> list[str]:
    """The parts without which it is not worth downloading."""
    needed = {"adapter": (CONFIG_FILE, WEIGHTS_FILE), "model": (MODEL_CONFIG,), "dataset": ()}[kind]
    missing = [name for name in needed if name not in taken]
    if kind == "model" and not any(RULES[kind].has_weights(name) for name in taken):
        missing.append(SINGLE_FILE)
    return missing


def _entry(file: "RepoFile") -> Entry:
    return Entry(file.path, "file", file.size, _never_open)


def _never_open() -> BinaryIO:
    raise AssertionError("a listed file is downloaded, not opened")

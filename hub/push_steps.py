"""The steps of a push at the Hub: the repo, the files, the commit, the comparison, the tag.

Every step either changes nothing that can be seen or is safe to repeat; the commit, which is neither, is repeated only
after the Hub has been asked whether it was made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from hub.deadline import Deadline, ResultT
from hub.plan import CARD_FILE, PlannedFile, PushPlan
from hub.remote import MAX_TRIES, Token, open_client, plain_errors, same_as_listed, with_retries
from hub.remote_errors import is_passing, pause_after, status_of
from medley.errors import HubError
from medley.events import Emit

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, DatasetInfo, ModelInfo, RepoFile

MAX_LISTED = 20_000


@dataclass(frozen=True)
class PushResult:
    """Where the version is now.

    Attributes:
        commit: the commit that holds exactly these files.
        tag: the version's number, such as "v3".
        verified: every file's hash at the Hub was compared with ours; False never comes back.
        is_new: False where the Hub had all of it already and no commit was made.
    """

    url: str
    commit: str
    tag: str
    verified: bool
    is_new: bool


class PushSteps:
    """The steps of one push; each is a few requests, and none begins after the deadline."""

    def __init__(self, plan: PushPlan, token: Token, endpoint: str | None, emit: Emit, deadline: Deadline) -> None:
        self.plan, self.emit, self.deadline = plan, emit, deadline
        self.api = open_client(token, endpoint)

    def run(self) -> PushResult:
        operations = self.operations()
        head = self.open_repo()
        tagged = self.tagged_commit()
        is_new = bool(self.differences(head))
        if is_new:
            self.upload(operations)
            with plain_errors(self.plan.repo_id, self.api):
                commit = self.commit(operations, head)
            self.check_arrived(commit)
        else:
            commit = head
            self.emit("progress", step=1, total=1, text=f"{self.plan.repo_id} has all of it: already published")
        self.set_tag(commit, tagged)
        return PushResult(f"{self.api.endpoint}/{self.plan.page}", commit, self.plan.tag, True, is_new)

    def ask(self, call: Callable[[], ResultT]) -> ResultT:
        """What the Hub answers; asked again where that is safe and may help."""
        with plain_errors(self.plan.repo_id, self.api):
            return with_retries(self.deadline, call)

    def operations(self) -> list["CommitOperationAdd"]:
        """One addition per file, hashed now: what has changed since the plan was made is not uploaded."""
        from huggingface_hub import CommitOperationAdd

        operations, changed = [], []
        for file in self.plan.files:
            try:
                operation = CommitOperationAdd(file.path, self.plan.contents[file.path])
                is_same = operation.upload_info.sha256.hex() == file.sha256
            except (OSError, ValueError):  # the file is gone or cannot be read
                is_same = False
            if is_same:
                operations.append(operation)
            else:
                changed.append(file.path)
        if changed:
            raise HubError(
                f"{', '.join(changed)} changed since the push was planned. Verify the {self.plan.kind} and plan again."
            )
        return operations

    def open_repo(self) -> str:
        """The head commit of the repo, which exists afterwards and is no more public than asked."""
        plan = self.plan
        info = self.ask(self.existing_repo)
        if info is None:
            self.ask(self.make_repo)
            info = self.ask(lambda: self.api.repo_info(plan.repo_id, repo_type=plan.repo_type))
        if plan.is_private and info.private is not True:
            raise HubError(
                f"{plan.repo_id} is public on the Hub, but a private push was asked for. "
                "Make it private in its settings there, or push to another name."
            )
        if info.private and not plan.is_private:
            self.emit("warning", text=f"{plan.repo_id} is private on the Hub and stays so.")
        return info.sha

    def make_repo(self) -> None:
        plan = self.plan
        self.api.create_repo(plan.repo_id, repo_type=plan.repo_type, private=plan.is_private, exist_ok=True)

    def existing_repo(self) -> "ModelInfo | DatasetInfo | None":
        """What the Hub says about the repo, or None if it shows none of this name."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return self.api.repo_info(self.plan.repo_id, repo_type=self.plan.repo_type)
        except RepositoryNotFoundError:
            return None

    def remote_files(self, commit: str) -> dict[str, "RepoFile"]:
        entries = self.api.list_repo_tree(
            self.plan.repo_id, repo_type=self.plan.repo_type, recursive=True, revision=commit
        )
        return {entry.path: entry for entry in islice(entries, MAX_LISTED) if hasattr(entry, "blob_id")}

    def differences(self, commit: str, *, besides: str = "") -> list[str]:
        """The planned files that the commit does not hold with the same content."""
        remote = self.ask(lambda: self.remote_files(commit))
        planned = [file for file in self.plan.files if file.path != besides]
        return [file.path for file in planned if not self.is_there(file, remote.get(file.path))]

    def is_there(self, file: PlannedFile, listed: "RepoFile | None") -> bool:
        return same_as_listed(self.plan.contents[file.path], file.sha256, file.size_bytes, listed)

    def tagged_commit(self) -> str | None:
        """The commit that the version's tag points at, if it exists; its files must be ours."""
        refs = self.ask(lambda: self.api.list_repo_refs(self.plan.repo_id, repo_type=self.plan.repo_type))
        tagged = next((tag.target_commit for tag in refs.tags if tag.name == self.plan.tag), None)
        if tagged and self.differences(tagged, besides=CARD_FILE):
            raise HubError(
                f"{self.plan.repo_id} has another {self.plan.kind} under the tag {self.plan.tag}, and tags stay where "
                "they are. Push to another repo, or delete the tag on the Hub."
            )
        return tagged

    def upload(self, operations: list["CommitOperationAdd"]) -> None:
        """Send the large files, one after the other; nothing is visible of them before the commit."""
        sent = 0
        for operation in operations:
            self.deadline.check()
            text = f"Uploading {operation.path_in_repo}"
            self.emit("progress", step=sent, total=self.plan.total_bytes, text=text)
            with plain_errors(self.plan.repo_id, self.api):
                self.api.preupload_lfs_files(self.plan.repo_id, additions=[operation], repo_type=self.plan.repo_type)
            sent += operation.upload_info.size
        self.emit("progress", step=sent, total=self.plan.total_bytes, text="Committing")

    def commit(self, operations: list["CommitOperationAdd"], head: str) -> str:
        """The new commit on top of `head`.

        After a failure the Hub is asked whether the commit was made all the same; only if not is it tried again.
        """
        for tries in range(1, MAX_TRIES + 1):
            self.deadline.check()
            try:
                return self.api.create_commit(
                    self.plan.repo_id,
                    operations,
                    repo_type=self.plan.repo_type,
                    commit_message=f"Publish {self.plan.label}",
                    commit_description=f"sha256:{self.plan.version_id}",
                    parent_commit=head,
                ).oid
            except Exception as error:
                has_moved = status_of(error) == 412
                if not has_moved and not is_passing(error):
                    raise
                landed = self.landed(head)
                if landed:
                    return landed
                pause = pause_after(error, tries)
                if has_moved or tries == MAX_TRIES or not self.deadline.has(pause):
                    raise
            self.deadline.pause(pause)
        raise AssertionError("unreachable")

    def landed(self, head: str) -> str | None:
        """The newer head, if it holds all that we wanted to commit."""
        now = self.ask(lambda: self.api.repo_info(self.plan.repo_id, repo_type=self.plan.repo_type)).sha
        return now if now != head and not self.differences(now) else None

    def check_arrived(self, commit: str) -> None:
        wrong = self.differences(commit)
        if wrong:
            raise HubError(
                f"{self.plan.repo_id} holds something else than was sent at commit {commit[:8]}: {', '.join(wrong)}. "
                "Nobody should use that commit; push again."
            )

    def set_tag(self, commit: str, tagged: str | None) -> None:
        plan = self.plan
        if tagged is not None:
            if tagged != commit:
                text = f"The tag {plan.tag} stays at {tagged[:8]}: the same {plan.kind} with an older card."
                self.emit("warning", text=text)
            return
        try:
            self.ask(
                lambda: self.api.create_tag(
                    plan.repo_id, tag=plan.tag, revision=commit, repo_type=plan.repo_type, exist_ok=True
                )
            )
        except HubError as error:
            text = (
                f"{plan.repo_id} is published at {commit[:8]}, but not tagged {plan.tag}: {error} Push again to tag it."
            )
            raise HubError(text) from None

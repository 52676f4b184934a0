"""A planned push, done: one commit, compared with what we have, and tagged.

A repo is never deleted and no file in it removed. The commit carries its parent, so that two pushes cannot mix, and
nothing is visible before it. A second push of the same content finds it there and makes no commit; so does one whose
answer got lost on the way.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hub.plan import CARD_FILE, PlannedFile, PushPlan
from hub.remote import (
    MAX_TRIES,
    Deadline,
    ResultT,
    Token,
    checked_token,
    default_timeout_s,
    is_passing,
    open_client,
    pause_after,
    plain_errors,
    quiet_client,
    run_within,
    status_of,
    with_retries,
)
from medley.errors import HubError, StorageError
from medley.events import Emit, ignore_event

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, RepoFile

    from hub.registry import Registry

MAX_LISTED = 20_000
CHUNK_BYTES = 8 * 1024 * 1024


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


def push(
    registry: "Registry",
    plan: PushPlan,
    *,
    token: str | None,
    endpoint: str | None = None,
    emit: Emit = ignore_event,
    timeout_s: float | None = None,
) -> PushResult:
    """Publish what the plan lists.

    Args:
        token: with write access; kept in memory for this call and never written anywhere.
        endpoint: another Hub than huggingface.co.
        timeout_s: when to give up, in seconds; by default three minutes and what a slow line needs for the bytes.

    Raises:
        HubError, ProblemsError: a check refuses the plan, or the Hub does; the message says what to do.
    """
    plan.require_ok()
    checked = checked_token(token)
    if not checked:
        raise HubError(
            f"A push to {plan.repo_id} needs a token with write access (https://huggingface.co/settings/tokens)."
        )
    _refuse_own_token(plan, checked)
    timeout_s = timeout_s or default_timeout_s(plan.total_bytes)
    too_late = (
        f"The Hub did not take {plan.repo_id} within {timeout_s:g} seconds. Nothing half done is visible there: "
        "push again when the connection is better."
    )
    with quiet_client():
        result = run_within(timeout_s, lambda deadline: _Push(plan, checked, endpoint, emit, deadline).run(), too_late)
    _record(registry, plan, result, emit)
    return result


def _refuse_own_token(plan: PushPlan, token: Token) -> None:
    for name, content in plan.contents.items():
        is_text = isinstance(content, bytes) or content.suffix != ".safetensors"
        data = content if isinstance(content, bytes) else content.read_bytes() if is_text else b""
        if str(token).encode() in data:
            raise HubError(f"{name} holds the very token of this push. Remove it from there and revoke it.")


def _record(registry: "Registry", plan: PushPlan, result: PushResult, emit: Emit) -> None:
    """Remember in the registry where the version was published; the push stands even if that fails."""
    entry = {"repo_id": plan.repo_id, "commit": result.commit, "tag": result.tag, "url": result.url}
    try:
        known = registry.get(plan.version_id).metadata.get("published") or []
        others = [old for old in known if (old["repo_id"], old["commit"]) != (plan.repo_id, result.commit)]
        registry.update_metadata(plan.version_id, published=[*others, {**entry, "time": round(time.time(), 3)}])
    except StorageError as error:
        emit("warning", text=f"Published, but the registry could not note it: {error}")


class _Push:
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
        return PushResult(f"{self.api.endpoint}/{self.plan.repo_id}", commit, self.plan.tag, True, is_new)

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
                f"{', '.join(changed)} changed since the push was planned. Verify the adapter and plan again."
            )
        return operations

    def open_repo(self) -> str:
        """The head commit of the repo, which exists afterwards and is no more public than asked."""
        plan = self.plan
        self.ask(lambda: self.api.create_repo(plan.repo_id, private=plan.is_private, exist_ok=True))
        info = self.ask(lambda: self.api.repo_info(plan.repo_id))
        if plan.is_private and info.private is not True:
            raise HubError(
                f"{plan.repo_id} is public on the Hub, but a private push was asked for. "
                "Make it private in its settings there, or push to another name."
            )
        if info.private and not plan.is_private:
            self.emit("warning", text=f"{plan.repo_id} is private on the Hub and stays so.")
        return info.sha

    def remote_files(self, commit: str) -> dict[str, "RepoFile"]:
        entries = self.api.list_repo_tree(self.plan.repo_id, recursive=True, revision=commit)
        return {entry.path: entry for entry in islice(entries, MAX_LISTED) if hasattr(entry, "blob_id")}

    def differences(self, commit: str, *, besides: str = "") -> list[str]:
        """The planned files that the commit does not hold with the same content."""
        remote = self.ask(lambda: self.remote_files(commit))
        planned = [file for file in self.plan.files if file.path != besides]
        return [file.path for file in planned if not self.is_same(file, remote.get(file.path))]

    def is_same(self, ours: PlannedFile, there: "RepoFile | None") -> bool:
        if there is None or there.size != ours.size_bytes:
            return False
        if there.lfs is not None:
            return there.lfs.sha256 == ours.sha256
        return there.blob_id == git_sha1(self.plan.contents[ours.path], ours.size_bytes)

    def tagged_commit(self) -> str | None:
        """The commit that the version's tag points at, if it exists; its adapter must be ours."""
        refs = self.ask(lambda: self.api.list_repo_refs(self.plan.repo_id))
        tagged = next((tag.target_commit for tag in refs.tags if tag.name == self.plan.tag), None)
        if tagged and self.differences(tagged, besides=CARD_FILE):
            raise HubError(
                f"{self.plan.repo_id} has another adapter under the tag {self.plan.tag}, and tags stay where they are. "
                "Push to another repo, or delete the tag on the Hub."
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
                self.api.preupload_lfs_files(self.plan.repo_id, additions=[operation])
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
        now = self.ask(lambda: self.api.repo_info(self.plan.repo_id)).sha
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
                text = f"The tag {plan.tag} stays at {tagged[:8]}: the same adapter with an older card."
                self.emit("warning", text=text)
            return
        try:
            self.ask(lambda: self.api.create_tag(plan.repo_id, tag=plan.tag, revision=commit, exist_ok=True))
        except HubError as error:
            text = (
                f"{plan.repo_id} is published at {commit[:8]}, but not tagged {plan.tag}: {error} Push again to tag it."
            )
            raise HubError(text) from None


def git_sha1(content: Path | bytes, size_bytes: int) -> str:
    """The id that git gives to a file of these bytes."""
    digest = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    if isinstance(content, bytes):
        digest.update(content)
        return digest.hexdigest()
    with content.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()

"""Repos, commits, refs, users and large files, in memory; of HTTP it knows only the refusals it can raise."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

INITIAL_FILES = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".gguf", ".parquet", ".model", ".zip")
LFS_MIN_BYTES = 10_000_000


class Refusal(Exception):
    """An answer other than 2xx: a status, a sentence and the Hub's error code."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class StoredFile:
    """A file of one commit; `is_lfs` says whether the tree lists its sha256."""

    content: bytes
    is_lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()
        )

    @property
    def git_sha1(self) -> str:
        data = self.pointer if self.is_lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.git_sha1


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    parent: str | None
    files: Mapping[str, StoredFile]


@dataclass
class Repo:
    """One repo; `extra_tree_entries` are listed by the tree and info endpoints but exist nowhere (hostile names)."""

    kind: str  # "model", "dataset" or "space"
    repo_id: str
    is_private: bool
    gated: str | bool = False
    granted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    extra_tree_entries: list[str] = field(default_factory=list)

    @property
    def owner(self) -> str:
        return self.repo_id.split("/")[0]

    def head(self, branch: str = "main") -> Commit:
        return self.commits[self.branches[branch]]

    def commit_at(self, revision: str) -> Commit:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def commit(self, branch: str, title: str, files: Mapping[str, StoredFile]) -> Commit:
        parent = self.branches.get(branch)
        listing = sorted((path, file.git_sha1) for path, file in files.items())
        seed = json.dumps([self.repo_id, parent, title, listing, len(self.commits)])
        made = Commit(hashlib.sha1(seed.encode()).hexdigest(), title, parent, dict(files))
        self.commits[made.oid] = made
        self.branches[branch] = made.oid
        return made

    def history(self, branch: str = "main") -> list[Commit]:
        """The commits of a branch, newest first."""
        found, oid = [], self.branches.get(branch)
        while oid is not None:
            found.append(self.commits[oid])
            oid = found[-1].parent
        return found


@dataclass(frozen=True)
class User:
    name: str
    token: str
    role: str = "write"  # of the token: "read" or "write"
    orgs: tuple[str, ...] = ()

    def can_write(self, namespace: str) -> bool:
        return self.role == "write" and (namespace == self.name or namespace in self.orgs)

    def can_read(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs


class HubStore:
    """Everything the server remembers."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.deleted: list[str] = []
        self._numbers = itertools.count(1)

    def add_user(self, name: str, role: str = "write", orgs: tuple[str, ...] = ()) -> User:
        """A user with a token that looks like a real one."""
        tail = hashlib.sha256(f"{name} {next(self._numbers)}".encode()).hexdigest()[:34]
        user = User(name, f"hf_{tail}", role, orgs)
        self.users[user.token] = user
        return user

    def add_repo(
        self, repo_id: str, files: Mapping[str, bytes] | None = None, *, kind: str = "model", is_private: bool = False
    ) -> Repo:
        """A repo as create_repo makes it: one commit with .gitattributes, and a second one where files are given."""
        repo = Repo(kind, repo_id, is_private)
        repo.commit("main", "initial commit", {path: StoredFile(data, False) for path, data in INITIAL_FILES.items()})
        self.repos[kind, repo_id] = repo
        if files:
            self.add_commit(repo, files)
        return repo

    def add_commit(self, repo: Repo, files: Mapping[str, bytes], title: str = "Add files") -> Commit:
        """A commit made by somebody else; large files become known to the LFS store."""
        stored = {path: StoredFile(data, is_lfs(path, len(data))) for path, data in files.items()}
        self.lfs.update({file.sha256: file.content for file in stored.values() if file.is_lfs})
        return repo.commit("main", title, {**repo.head().files, **stored})

    def find(self, kind: str, repo_id: str, user: User | None) -> Repo:
        """The repo if this user may see it; the Hub does not tell a hidden repo from a missing one."""
        repo = self.repos.get((kind, repo_id))
        if repo is None or (repo.is_private and not (user and user.can_read(repo.owner))):
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        return repo

    def find_to_write(self, kind: str, repo_id: str, user: User | None) -> Repo:
        repo = self.find(kind, repo_id, user)
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if not user.can_write(repo.owner):
            raise Refusal(403, "Forbidden: you don't have write access to this repo")
        return repo


def is_lfs(path: str, size_bytes: int) -> bool:
    """Whether the Hub keeps a file of this name and size as a large file."""
    return path.endswith(LFS_SUFFIXES) or size_bytes >= LFS_MIN_BYTES

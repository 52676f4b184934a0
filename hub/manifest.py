"""The manifest of a content: what its id is the sha256 of.

It holds the files (path, size, sha256), the kind, the base, the parents and the recipe, in one canonical spelling, and
neither time nor name: the same content made twice has the same id.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FORMAT = 1


@dataclass(frozen=True)
class FileEntry:
    """One file of a version: its path inside the folder (with '/'), size and lower-case hex sha256."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Parent:
    """What a version was made from: its content id, and as what it served ("base", "data", "init", "input", …)."""

    id: str
    role: str


@dataclass(frozen=True)
class Manifest:
    """All that decides a content's id."""

    kind: str
    base: str | None
    base_revision: str | None
    recipe: str | None
    parents: tuple[Parent, ...]
    files: tuple[FileEntry, ...]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.files)


def to_text(manifest: Manifest) -> str:
    """The canonical spelling: ASCII JSON, keys, files and parents sorted, no spaces, nothing twice."""
    return json.dumps(
        {
            "format": FORMAT,
            "kind": manifest.kind,
            "base": manifest.base,
            "base_revision": manifest.base_revision,
            "recipe": manifest.recipe,
            "parents": sorted({(parent.role, parent.id) for parent in manifest.parents}),
            "files": sorted((entry.path, entry.size_bytes, entry.sha256) for entry in manifest.files),
        },
        sort_keys=True,
        separators=(",", ":"),
    )


def from_text(text: str) -> Manifest:
    """The manifest of a canonical spelling (or of one that somebody edited: check its id)."""
    data = json.loads(text)
    return Manifest(
        kind=data["kind"],
        base=data["base"],
        base_revision=data["base_revision"],
        recipe=data["recipe"],
        parents=_parents(data["parents"]),
        files=tuple(FileEntry(path, size, sha256) for path, size, sha256 in data["files"]),
    )


def _parents(pairs: Iterable[Sequence[str]]) -> tuple[Parent, ...]:
    return tuple(Parent(id, role) for role, id in pairs)


def content_id(text: str) -> str:
    """The id that belongs to a canonical spelling."""
    import hashlib

    return hashlib.sha256(text.encode("ascii")).hexdigest()

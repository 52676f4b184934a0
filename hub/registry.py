"""The registry: every base, dataset, adapter, model and report we have, by name and version.

`open_registry()` is the door. A Registry may be used by any number of threads and processes at once; the rules that
make this safe live in store.py (files) and database.py (rows), the queries in records.py.
"""

from __future__ import annotations  # Registry has a method `list`; its annotations mean the builtin

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Any

from hub import aliases, gc, lineage, recording, records, schema, verify
from hub.aliases import ANY, AliasMove, Expected
from hub.database import connect, migrate, storage_errors, transaction
from hub.files import copy_files
from hub.home import home_dir
from hub.manifest import FileEntry, Manifest, Parent, content_id, from_text, to_text
from hub.names import quoted
from hub.records import Version
from hub.store import DamagedContentError, Store
from medley.errors import InvalidNameError, NotFoundError
from medley.events import Emit, ignore_event


def open_registry(home: Path | None = None) -> Registry:
    """The registry of a home folder, made if it is not there.

    Args:
        home: the folder; None for `home_dir()`.

    Raises:
        StorageError: the folder cannot be used, or a newer Medley has written it.
    """
    return Registry((home or home_dir()).absolute())


class Registry:
    """What we have and where; see `open_registry`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._store = Store(home / "store")
        self._threads = threading.local()
        with storage_errors(f"The home folder {home} cannot be used"):
            for folder in ("jobs", "bases"):
                (home / folder).mkdir(parents=True, exist_ok=True)
            self._store.create()
            migrate(self._connection, schema.COMPONENT, schema.MIGRATIONS)
            self._store.sweep()

    def __repr__(self) -> str:
        return f"Registry({str(self.home)!r})"

    @property
    def _connection(self) -> Connection:
        """This thread's connection; SQLite's are not to be shared."""
        if not hasattr(self._threads, "connection"):
            self._threads.connection = connect(self.home)
        return self._threads.connection

    def close(self) -> None:
        """Close the calling thread's connection; the next call opens another."""
        if hasattr(self._threads, "connection"):
            self._threads.connection.close()
            del self._threads.connection

    def publish(
        self,
        kind: str,
        name: str,
        folder: Path,
        *,
        base: str | None = None,
        base_revision: str | None = None,
        parents: Sequence[Parent] = (),
        recipe: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Version:
        """The version that now holds a copy of the folder's files.

        The same content (files, kind, base, parents, recipe) has the same id. Under the same name it makes no new
        version: the one that has it is returned, even if it is not the latest, and it comes back if it was removed.

        Args:
            kind: one of KINDS; a name belongs to one kind.
            folder: plain files and folders only; empty folders are not kept.
            base, base_revision: the base model's Hub id and commit, or "folder:<digest>".
            metadata: JSON values, outside the hash; fields already on record for this content stay as they are.

        Raises:
            InvalidNameError: the name cannot be used or belongs to another kind.
            NotFoundError: no such folder, or no files in it.
            StorageError: a link or device in the folder; no space or permission. Nothing is visible then.
        """
        manifest = Manifest(kind, base, base_revision, recipe, tuple(parents), ())
        extra = dict(metadata or {})
        records.metadata_text(extra)  # what is not JSON fails now rather than after the copy
        with storage_errors(f"{quoted(name)} was not published to {self.home}"):
            recording.check_new(self._connection, name, manifest)
            with self._store.staging() as staged:
                manifest = replace(manifest, files=copy_files(Path(folder), staged))
                return self._version(self._place_and_record(staged, name, manifest, extra))

    def _place_and_record(self, staged: Path, name: str, manifest: Manifest, extra: Mapping[str, Any]) -> Row:
        text = to_text(manifest)
        id = content_id(text)
        try:
            with self._store.shared():
                self._store.place(staged, id, manifest.files)
                return recording.record(self._connection, name, id, manifest, text, extra)
        except DamagedContentError:  # what we have is right: mend it
            with self._store.exclusive():
                self._store.replace(staged, id, manifest.files)
                return recording.record(self._connection, name, id, manifest, text, extra)

    def get(self, ref: str, kind: str | None = None) -> Version:
        """The version that a reference means: "pirate", "pirate:v3", "pirate:production", "sha256:3f2a91bc", an id.

        Raises:
            InvalidNameError: it cannot be a reference.
            NotFoundError: there is none, or it is of another kind than `kind`.
        """
        with self._reading():
            return self._version(records.find(self._connection, ref, kind))

    def exists(self, name: str) -> bool:
        """Whether `get(name)` would find something; False for what cannot be a reference."""
        try:
            self.get(name)
        except (InvalidNameError, NotFoundError):
            return False
        return True

    def kind_of(self, name: str) -> str | None:
        """The kind that a name belongs to, by any version of it, hidden ones included; None for a free name."""
        with self._reading():
            return recording.kind_of(self._connection, name)

    def list(self, kind: str | None = None, *, limit: int | None = 50, search: str = "") -> list[Version]:
        """The latest version of each name, the last published first.

        Args:
            limit: at most so many; None for all.
            search: words that must all be in the name or the base's id.
        """
        with self._reading():
            return self._versions(records.newest(self._connection, kind, limit, search))

    def count(self, kind: str | None = None) -> int:
        """How many names `list` would give without a limit."""
        query = "SELECT count(*) FROM names WHERE newest IS NOT NULL AND (? IS NULL OR kind = ?)"
        with self._reading():
            return self._connection.execute(query, (kind, kind)).fetchone()[0]

    def versions(self, name: str) -> list[Version]:
        """All visible versions of a name, the latest first."""
        with self._reading():
            return self._versions(records.of_name(self._connection, name))

    def files(self, id: str) -> tuple[FileEntry, ...]:
        """The files of a content as they were published: path, size and sha256."""
        return self.manifest(id).files

    def manifest(self, id: str) -> Manifest:
        """All that decides a content's id."""
        with self._reading():
            return from_text(self._content(id, "manifest")["manifest"])

    def update_metadata(self, id: str, **fields: Any) -> Version:
        """Set metadata fields of a content (of every version that has it); None takes a field away."""
        with storage_errors(f"The metadata of {id[:12]} were not changed"), transaction(self._connection) as connection:
            old = json.loads(self._content(id, "metadata")["metadata"])
            kept = {key: value for key, value in old.items() if key not in fields}
            text = records.metadata_text({**kept, **{key: value for key, value in fields.items() if value is not None}})
            connection.execute("UPDATE contents SET metadata = ? WHERE id = ?", (text, id))
            return self._version(records.by_ids(connection, [id])[id])

    def set_alias(self, name: str, alias: str, number: int, *, expected: Expected = ANY) -> None:
        """Point `name:alias` at a version; see `hub.aliases.set_alias` for `expected` and what it raises."""
        with storage_errors(f"The alias {name}:{alias} was not moved"):
            aliases.set_alias(self._connection, name, alias, number, expected)

    def remove_alias(self, name: str, alias: str, *, expected: Expected = ANY) -> None:
        """Take `name:alias` away; its history stays."""
        with storage_errors(f"The alias {name}:{alias} was not removed"):
            aliases.remove_alias(self._connection, name, alias, expected)

    def alias_history(self, name: str, alias: str) -> list[AliasMove]:
        """Every move of an alias, the first one first."""
        with self._reading():
            return aliases.history(self._connection, name, alias)

    def parents(self, id: str) -> list[tuple[str, Version | None]]:
        """(role, version) of what a content was made from; None for what is not (or no longer) known here."""
        with self._reading():
            edges = lineage.parent_edges(self._connection, id)
            rows = records.by_ids(self._connection, [parent for _, parent in edges])
        return [(role, self._version(rows[parent]) if parent in rows else None) for role, parent in edges]

    def children(self, id: str) -> list[Version]:
        """What was made from a content and is visible, the first published first."""
        with self._reading():
            ids = lineage.child_ids(self._connection, id)
            rows = records.by_ids(self._connection, ids)
        return [self._version(rows[child]) for child in ids]

    def lineage(self, ref: str) -> lineage.Lineage:
        """All ancestors and descendants of a version, and itself."""
        with self._reading():
            root = records.find(self._connection, ref)["id"]
            ids = lineage.reachable(self._connection, root)
            edges = lineage.edges_among(self._connection, ids)
            rows = sorted(records.by_ids(self._connection, ids).values(), key=lambda row: row["sequence"])
        return lineage.Lineage(root, self._versions(rows), edges)

    def verify(self, ref: str | None = None, *, emit: Emit = ignore_event) -> verify.VerifyReport:
        """Hash the files of one version, or of all, and compare them with what was published."""
        with self._reading():
            if ref is None:
                return verify.verify_all(self._connection, self._store, emit)
            id = records.find(self._connection, ref)["id"]
            return verify.verify_contents(self._connection, self._store, [id], emit)

    def remove(self, ref: str, *, force: bool = False) -> Version:
        """Hide a version; `restore` brings it back until `gc` has collected it.

        Raises:
            ConflictError: without `force`, if an alias points at it or something was made from it.
        """
        with storage_errors(f"{quoted(ref)} was not removed"):
            return self._version(gc.hide(self._connection, ref, force=force))

    def restore(self, ref: str) -> Version:
        """Bring a removed version back; `ref` is name and number, such as "pirate:v3"."""
        with storage_errors(f"{quoted(ref)} was not restored"):
            return self._version(gc.restore(self._connection, ref))

    def gc(self, *, grace_s: float = gc.GRACE_S) -> gc.GcReport:
        """Collect versions removed more than `grace_s` seconds ago, and what crashed publishers left in the store."""
        with storage_errors("The store could not be cleaned up"):
            self._store.sweep()
            return gc.collect(self._connection, self._store, grace_s)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the store's own disk for the block, for what may be too large for the temporary one.

        It is gone after the block; what a crash leaves is swept when a registry is opened.
        """
        with self._store.staging() as folder:
            with storage_errors(f"The home folder {self.home} cannot be used"):
                folder.mkdir()
            yield folder

    def _reading(self) -> AbstractContextManager[None]:
        return storage_errors(f"The registry in {self.home} could not be read")

    def _content(self, id: str, column: str) -> Row:
        row = self._connection.execute(f"SELECT {column} FROM contents WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise NotFoundError(f"Nothing here has the id {quoted(id)}.")
        return row

    def _version(self, row: Row) -> Version:
        return records.to_version(row, self._store.root)

    def _versions(self, rows: Sequence[Row]) -> list[Version]:
        return [self._version(row) for row in rows]

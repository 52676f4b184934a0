"""Is everything still what it was when it was published? Re-hashes manifests and files, changes nothing."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from hub.manifest import Manifest, content_id, from_text
from hub.records import SELECT
from hub.store import Store, compare
from medley.events import Emit


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        id: the content, or "" for the database itself.
        name: a version that has it, for example "pirate:v3".
        path: the file inside the version; "" for the whole folder or the record.
        what: "missing", "changed", "extra", "unreadable", "record changed" or "database damaged".
    """

    id: str
    name: str
    path: str
    what: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.path or 'the whole folder'}: {self.what}" if self.id else f"{self.what}: {self.path}"
        )


@dataclass(frozen=True)
class VerifyReport:
    """What was found.

    Attributes:
        checked: how many contents were hashed.
        problems: all that is wrong; empty when all is well.
        unreferenced: ids on disk that no version uses (a publish that was cut short); not an error, gc removes them.
    """

    checked: int
    problems: list[Problem]
    unreferenced: list[str]

    @property
    def is_ok(self) -> bool:
        return not self.problems


def verify_contents(connection: sqlite3.Connection, store: Store, ids: Iterable[str], emit: Emit) -> VerifyReport:
    """Check some contents, given by id."""
    ids = list(ids)
    problems: list[Problem] = []
    for step, id in enumerate(ids, start=1):
        problems += _verify_content(connection, store, id)
        emit("progress", step=step, total=len(ids), text="Verifying")
    return VerifyReport(len(ids), problems, [])


def verify_all(connection: sqlite3.Connection, store: Store, emit: Emit) -> VerifyReport:
    """Check every content, the database, and what lies in the store besides."""
    damage = [row[0] for row in connection.execute("PRAGMA quick_check(5)") if row[0] != "ok"]
    ids = [row[0] for row in connection.execute("SELECT id FROM contents ORDER BY id")]
    report = verify_contents(connection, store, ids, emit)
    problems = [Problem("", "", line, "database damaged") for line in damage] + report.problems
    return VerifyReport(report.checked, problems, unreferenced(connection, store))


def unreferenced(connection: sqlite3.Connection, store: Store) -> list[str]:
    """Ids on disk that the database does not know, sorted; a publish under way may be among them."""
    on_disk = sorted(store.ids())  # before the database is read: what is placed later is not looked at
    return [id for id in on_disk if not _is_known(connection, id)]


def _is_known(connection: sqlite3.Connection, id: str) -> bool:
    return connection.execute("SELECT 1 FROM contents WHERE id = ?", (id,)).fetchone() is not None


def _verify_content(connection: sqlite3.Connection, store: Store, id: str) -> list[Problem]:
    row = connection.execute("SELECT * FROM contents WHERE id = ?", (id,)).fetchone()
    label = _label(connection, id)
    if row is None:
        return []
    try:
        manifest = from_text(row["manifest"])
        is_original = content_id(row["manifest"]) == id
    except (ValueError, KeyError, TypeError):
        return [Problem(id, label, "", "record changed")]
    if not is_original or not _agrees(connection, row, manifest):
        return [Problem(id, label, "", "record changed")]
    differences = compare(store.path_of(id), manifest.files)
    if differences and not _is_known(connection, id):  # collected while we looked
        return []
    return [Problem(id, label, path, what) for path, what in differences]


def _agrees(connection: sqlite3.Connection, row: sqlite3.Row, manifest: Manifest) -> bool:
    columns = (row["kind"], row["base"], row["base_revision"], row["recipe"], row["size_bytes"])
    edges = connection.execute("SELECT role, parent_id FROM parents WHERE child_id = ?", (row["id"],))
    return columns == (
        manifest.kind,
        manifest.base,
        manifest.base_revision,
        manifest.recipe,
        manifest.size_bytes,
    ) and {tuple(edge) for edge in edges} == {(parent.role, parent.id) for parent in manifest.parents}


def _label(connection: sqlite3.Connection, id: str) -> str:
    query = f"{SELECT} WHERE v.content_id = ? ORDER BY v.hidden IS NOT NULL, v.sequence DESC LIMIT 1"
    row = connection.execute(query, (id,)).fetchone()
    return f"{row['name']}:v{row['number']}" if row else f"sha256:{id[:12]}"

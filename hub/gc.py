"""Removal in two steps: a version is hidden, and later its content is collected if nothing else needs it.

Numbers of collected versions are never given out again. The database forgets a content before its folder goes, under
the store's exclusive lock, so that there is never a record without its files.
"""

import sqlite3
import time
from dataclasses import dataclass

from hub.aliases import move
from hub.database import transaction
from hub.lineage import child_ids
from hub.names import parse_reference
from hub.records import by_ids, by_sequence, find, refresh_newest
from hub.store import Store
from hub.verify import unreferenced
from medley.errors import ConflictError, NotFoundError, ParameterError

GRACE_S = 3600.0  # a job that started before the removal may still read the files


@dataclass(frozen=True)
class GcReport:
    """What was collected.

    Attributes:
        removed: labels of the versions that are gone for good.
        folders: ids of the contents whose files were deleted, unreferenced ones included.
        freed_bytes: what their files took.
        waiting: labels of versions that are hidden, but younger than the grace time or still needed.
    """

    removed: list[str]
    folders: list[str]
    freed_bytes: int
    waiting: list[str]


def hide(connection: sqlite3.Connection, reference: str, *, force: bool) -> sqlite3.Row:
    """The row of the version that a reference means, hidden from now on.

    Raises:
        ConflictError: without `force`, if an alias points at it or something was made from its content.
    """
    with transaction(connection):
        row = find(connection, reference)
        name, number, aliases = row["name"], row["number"], (row["aliases"] or "").split()
        children = [] if _is_shown_elsewhere(connection, row) else child_ids(connection, row["id"])
        if (aliases or children) and not force:
            raise ConflictError(_why_kept(connection, f"{name}:v{number}", sorted(aliases), children))
        for alias in aliases:
            move(connection, name, alias, None)
        update = "UPDATE versions SET hidden = ?, is_forced = ? WHERE name = ? AND number = ?"
        connection.execute(update, (time.time(), bool(children), name, number))
        refresh_newest(connection, name)
    return by_sequence(connection, row["sequence"])


def restore(connection: sqlite3.Connection, reference: str) -> sqlite3.Row:
    """The row of a hidden version, visible again.

    Args:
        reference: name and number, such as "pirate:v3".

    Raises:
        NotFoundError: it was never there, or is collected.
    """
    parsed = parse_reference(reference)
    if parsed.number is None:
        raise ParameterError(f"Say which version to restore, for example '{parsed.name or 'pirate'}:v3'.")
    with transaction(connection):
        query = "SELECT sequence FROM versions WHERE name = ? AND number = ?"
        row = connection.execute(query, (parsed.name, parsed.number)).fetchone()
        if row is None:
            raise NotFoundError(f"There is no {reference} to restore: it never was, or gc has collected it.")
        connection.execute("UPDATE versions SET hidden = NULL, is_forced = 0 WHERE sequence = ?", (row["sequence"],))
        refresh_newest(connection, parsed.name)
    return by_sequence(connection, row["sequence"])


def collect(connection: sqlite3.Connection, store: Store, grace_s: float) -> GcReport:
    """Forget versions hidden for longer than `grace_s`, then delete every folder that no version uses."""
    with store.exclusive():
        with transaction(connection):
            removed, waiting = _forget(connection, time.time() - grace_s)
        folders = unreferenced(connection, store)
        freed_bytes = 0
        for id in folders:
            freed_bytes += store.size_bytes(id)
            store.discard(id)
    return GcReport(removed, folders, freed_bytes, waiting)


def _forget(connection: sqlite3.Connection, before: float) -> tuple[list[str], list[str]]:
    removed, waiting = [], []
    query = "SELECT sequence, name, number, content_id AS id, hidden, is_forced FROM versions WHERE hidden IS NOT NULL"
    for row in connection.execute(f"{query} ORDER BY sequence DESC").fetchall():  # children go before their parents
        is_free = row["is_forced"] or _is_shown_elsewhere(connection, row) or not _has_children(connection, row["id"])
        if row["hidden"] > before or not is_free:
            waiting.append(f"{row['name']}:v{row['number']}")
            continue
        removed.append(f"{row['name']}:v{row['number']}")
        connection.execute("DELETE FROM versions WHERE sequence = ?", (row["sequence"],))
        unused = "DELETE FROM contents WHERE id = ? AND NOT EXISTS (SELECT 1 FROM versions WHERE content_id = ?)"
        connection.execute(unused, (row["id"], row["id"]))
    return sorted(removed), sorted(waiting)


def _has_children(connection: sqlite3.Connection, id: str) -> bool:
    """Hidden children count too: they may be restored, and then their lineage should be whole."""
    return connection.execute("SELECT 1 FROM parents WHERE parent_id = ?", (id,)).fetchone() is not None


def _is_shown_elsewhere(connection: sqlite3.Connection, row: sqlite3.Row) -> bool:
    query = "SELECT 1 FROM versions WHERE content_id = ? AND sequence != ? AND hidden IS NULL"
    return connection.execute(query, (row["id"], row["sequence"])).fetchone() is not None


def _why_kept(connection: sqlite3.Connection, label: str, aliases: list[str], children: list[str]) -> str:
    reasons = []
    if aliases:
        reasons.append(f"the alias {', '.join(aliases)} points at it")
    if children:
        rows = by_ids(connection, children[:3])
        names = ", ".join(f"{rows[id]['name']}:v{rows[id]['number']}" for id in children[:3])
        more = f" and {len(children) - 3} more" if len(children) > 3 else ""
        reasons.append(f"{names}{more} came from it")
    return f"{label} cannot be removed: {'; '.join(reasons)}. Remove it all the same with --force."

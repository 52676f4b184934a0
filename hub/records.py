"""Versions as the database knows them: the Version object and the queries that find it.

Every query is one statement on an index, whatever the number of versions; nothing here touches the store.
"""

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.names import Reference, check_name, parse_reference, quoted
from medley.errors import NotFoundError

KINDS = ("base", "dataset", "adapter", "model", "report")

_COLUMNS = """
    SELECT c.id, c.kind, v.name, v.number, v.created, v.hidden, c.base, c.base_revision, c.recipe, c.metadata,
           c.size_bytes, v.sequence,
           (SELECT group_concat(alias, ' ') FROM aliases a WHERE a.name = v.name AND a.number = v.number) AS aliases
"""
_FROM = "FROM versions v JOIN contents c ON c.id = v.content_id"
SELECT = f"{_COLUMNS} {_FROM}"


@dataclass(frozen=True)
class Version:
    """One published version: a content under a name and a number.

    Attributes:
        id: the content's id, 64 hex digits; several names may share it.
        kind: one of KINDS.
        created: seconds since 1970.
        base: the base's Hub id, or "folder:<digest>"; None where there is none.
        recipe: the YAML that made it, or None.
        metadata: what is known of the content besides its bytes; JSON values.
        aliases: those that point at this name and number, sorted.
        path: the folder with its files, all read-only.
        is_hidden: removed, and waiting for gc.
    """

    id: str
    kind: str
    name: str
    number: int
    created: float
    base: str | None
    base_revision: str | None
    recipe: str | None
    metadata: dict[str, Any] = field(hash=False)
    aliases: tuple[str, ...]
    path: Path
    size_bytes: int
    is_hidden: bool = False

    @property
    def label(self) -> str:
        """For people: name and number, for example "pirate:v3"."""
        return f"{self.name}:v{self.number}"


def to_version(row: sqlite3.Row, store: Path) -> Version:
    """The Version of a row that SELECT gave."""
    id = row["id"]
    return Version(
        id=id,
        kind=row["kind"],
        name=row["name"],
        number=row["number"],
        created=row["created"],
        base=row["base"],
        base_revision=row["base_revision"],
        recipe=row["recipe"],
        metadata=json.loads(row["metadata"]),
        aliases=tuple(sorted((row["aliases"] or "").split())),
        path=store / f"{id[:2]}/{id}",
        size_bytes=row["size_bytes"],
        is_hidden=row["hidden"] is not None,
    )


def find(connection: sqlite3.Connection, text: str, kind: str | None = None) -> sqlite3.Row:
    """The row of the one visible version that a reference means.

    Raises:
        InvalidNameError: the text is no reference.
        NotFoundError: there is no such name, number, alias or id, or it is of another kind.
    """
    reference = parse_reference(text)
    row = _by_prefix(connection, reference) if reference.id_prefix else _by_name(connection, reference, kind)
    if kind and row["kind"] != kind:
        raise NotFoundError(f"{quoted(text)} is {_a(row['kind'])}, not {_a(kind)}.")
    return row


def _by_name(connection: sqlite3.Connection, reference: Reference, kind: str | None) -> sqlite3.Row:
    name = reference.name
    if reference.number is not None:
        row = connection.execute(f"{SELECT} WHERE v.name = ? AND v.number = ?", (name, reference.number)).fetchone()
    elif reference.alias:
        query = f"{_COLUMNS} FROM aliases t JOIN versions v ON v.name = t.name AND v.number = t.number "
        query += "JOIN contents c ON c.id = v.content_id WHERE t.name = ? AND t.alias = ?"
        row = connection.execute(query, (name, reference.alias)).fetchone()
    else:
        query = f"{_COLUMNS} FROM names n JOIN versions v ON v.sequence = n.newest "
        query += "JOIN contents c ON c.id = v.content_id WHERE n.name = ?"
        row = connection.execute(query, (name,)).fetchone()
    if row is None or row["hidden"] is not None:
        raise NotFoundError(_why_not_found(connection, reference, kind, is_hidden=row is not None))
    return row


def _why_not_found(connection: sqlite3.Connection, reference: Reference, kind: str | None, *, is_hidden: bool) -> str:
    name = reference.name
    known = connection.execute("SELECT newest FROM names WHERE name = ? AND newest IS NOT NULL", (name,)).fetchone()
    if known is None:
        return f"There is no {kind or 'version'} named '{name}'.{_did_you_mean(connection, name, kind)}"
    if is_hidden:
        return f"{name}:v{reference.number} was removed. Restore it, or choose another version of '{name}'."
    rows = connection.execute("SELECT number FROM versions WHERE name = ? AND hidden IS NULL ORDER BY number", (name,))
    numbers = [f"v{row[0]}" for row in rows]
    if reference.alias:
        aliases = connection.execute("SELECT alias FROM aliases WHERE name = ? ORDER BY alias", (name,))
        words = ", ".join(row[0] for row in aliases) or "none"
        return f"'{name}' has no alias '{reference.alias}'. Its aliases: {words}; its versions: {_range(numbers)}."
    return f"'{name}' has no version v{reference.number}. Its versions: {_range(numbers)}."


def _range(numbers: list[str]) -> str:
    return ", ".join(numbers) if len(numbers) <= 8 else f"{', '.join(numbers[:3])}, … {numbers[-1]}"


def _did_you_mean(connection: sqlite3.Connection, name: str, kind: str | None) -> str:
    import difflib

    query = "SELECT name FROM names WHERE newest IS NOT NULL AND (? IS NULL OR kind = ?)"
    close = difflib.get_close_matches(name, [row[0] for row in connection.execute(query, (kind, kind))], n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def _by_prefix(connection: sqlite3.Connection, reference: Reference) -> sqlite3.Row:
    prefix = reference.id_prefix
    query = "SELECT id FROM contents WHERE id >= ? AND id < ? LIMIT 3"
    ids = [row[0] for row in connection.execute(query, (prefix, prefix + "g"))]  # 'g' follows the last hex digit
    if len(ids) > 1:
        raise NotFoundError(f"sha256:{prefix} is the beginning of several ids. Give more of its digits.")
    if not ids:
        raise NotFoundError(f"Nothing here has the id sha256:{prefix}.")
    row = by_ids(connection, ids)[ids[0]]
    if row["hidden"] is not None:
        raise NotFoundError(f"sha256:{prefix} ({row['name']}:v{row['number']}) was removed. Restore it first.")
    return row


def by_sequence(connection: sqlite3.Connection, sequence: int) -> sqlite3.Row:
    """The row of one version, hidden or not."""
    return connection.execute(f"{SELECT} WHERE v.sequence = ?", (sequence,)).fetchone()


def by_ids(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, sqlite3.Row]:
    """One row for each known id: its newest visible version, else its newest hidden one."""
    query = f"{SELECT} WHERE v.content_id IN (SELECT value FROM json_each(?)) ORDER BY v.hidden IS NULL, v.sequence"
    rows = connection.execute(query, (json.dumps(list(ids)),))
    return {row["id"]: row for row in rows}  # the last of each id wins


def newest(connection: sqlite3.Connection, kind: str | None, limit: int | None, search: str) -> list[sqlite3.Row]:
    """The latest version of each name, the last published first."""
    conditions = ["n.newest IS NOT NULL"]
    values: list[Any] = []
    if kind:
        conditions.append("n.kind = ?")
        values.append(kind)
    for word in search.lower().split():
        conditions.append("instr(n.name || ' ' || lower(coalesce(c.base, '')), ?) > 0")
        values.append(word)
    query = f"{_COLUMNS} FROM names n CROSS JOIN versions v ON v.sequence = n.newest JOIN contents c "
    query += f"ON c.id = v.content_id WHERE {' AND '.join(conditions)} ORDER BY n.newest DESC LIMIT ?"
    return connection.execute(query, (*values, -1 if limit is None else limit)).fetchall()


def of_name(connection: sqlite3.Connection, name: str) -> list[sqlite3.Row]:
    """All visible versions of a name, the latest first.

    Raises:
        InvalidNameError, NotFoundError: there is no such name.
    """
    check_name(name)
    query = f"{SELECT} WHERE v.name = ? AND v.hidden IS NULL ORDER BY v.number DESC"
    rows = connection.execute(query, (name,)).fetchall()
    if not rows:
        raise NotFoundError(_why_not_found(connection, Reference(name), None, is_hidden=False))
    return rows


def refresh_newest(connection: sqlite3.Connection, name: str) -> None:
    """Let the name's `newest` point at its latest visible version again; part of every showing and hiding."""
    query = "UPDATE names SET newest = (SELECT max(sequence) FROM versions WHERE name = ? AND hidden IS NULL) "
    connection.execute(query + "WHERE name = ?", (name, name))


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """Metadata as it is stored; a number that JSON has no word for (NaN, infinity) becomes null."""
    try:
        return json.dumps(metadata, allow_nan=False, sort_keys=True)
    except ValueError:
        return json.dumps(_without_nan(metadata), allow_nan=False, sort_keys=True)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"

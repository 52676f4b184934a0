"""The one transaction that makes a published content visible under a name."""

import json
import re
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

from hub.database import transaction
from hub.manifest import Manifest
from hub.names import check_name, is_id, quoted
from hub.records import KINDS, by_sequence, metadata_text, refresh_newest
from medley.errors import InvalidNameError, ParameterError

_BASE = re.compile(r"folder:[0-9a-f]{8,64}|[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")  # never a path


def check_new(connection: sqlite3.Connection, name: str, manifest: Manifest) -> None:
    """All that can be checked before a byte is copied: the name, the kind, the base, the parents' ids.

    Raises:
        InvalidNameError: the name cannot be used, or belongs to another kind.
        ParameterError: an unknown kind, a base that is a path, or a parent that is not a whole id.
    """
    check_name(name)
    if manifest.kind not in KINDS:
        raise ParameterError(f"kind must be one of {', '.join(KINDS)}, got {quoted(manifest.kind)}.")
    if manifest.base is not None and not _BASE.fullmatch(manifest.base):
        raise ParameterError(f"base must be a Hub id or folder:<digest>, got {quoted(manifest.base)}.")
    for parent in manifest.parents:
        if not is_id(parent.id):
            raise ParameterError(f"A parent must be a whole id of 64 hex digits, got {quoted(parent.id)}.")
    _check_kind(connection, name, manifest.kind)


def kind_of(connection: sqlite3.Connection, name: str) -> str | None:
    """The kind that a name belongs to while any version of it is there, hidden or not."""
    query = "SELECT kind FROM names n WHERE name = ? AND EXISTS (SELECT 1 FROM versions v WHERE v.name = n.name)"
    row = connection.execute(query, (name,)).fetchone()
    return row["kind"] if row else None


def _check_kind(connection: sqlite3.Connection, name: str, kind: str) -> None:
    taken = kind_of(connection, name)
    if taken not in (None, kind):
        raise InvalidNameError(f"The name '{name}' belongs to a version of kind {taken}. Choose another one.")


def record(
    connection: sqlite3.Connection, name: str, id: str, manifest: Manifest, text: str, metadata: Mapping[str, Any]
) -> sqlite3.Row:
    """Give a content that is in the store a name and a number; the row of that version.

    The same content under the same name keeps its number, also when later numbers exist, and comes back if it was
    removed but not yet collected. Metadata that is on record stays; only fields that are not there yet are added.
    """
    now = time.time()
    with transaction(connection):
        _check_kind(connection, name, manifest.kind)
        _put_content(connection, id, manifest, text, metadata, now)
        query = "SELECT sequence FROM versions WHERE content_id = ? AND name = ?"
        known = connection.execute(query, (id, name)).fetchone()
        if known is None:
            values = (name, _next_number(connection, name, manifest.kind), id, now)
            insert = "INSERT INTO versions (name, number, content_id, created) VALUES (?, ?, ?, ?)"
            sequence = connection.execute(insert, values).lastrowid
        else:
            sequence = known["sequence"]
            connection.execute("UPDATE versions SET hidden = NULL, is_forced = 0 WHERE sequence = ?", (sequence,))
        refresh_newest(connection, name)
        return by_sequence(connection, sequence)


def _put_content(
    connection: sqlite3.Connection, id: str, manifest: Manifest, text: str, metadata: Mapping[str, Any], now: float
) -> None:
    row = connection.execute("SELECT metadata FROM contents WHERE id = ?", (id,)).fetchone()
    if row is not None:
        merged = metadata_text({**metadata, **json.loads(row["metadata"])})
        connection.execute("UPDATE contents SET metadata = ? WHERE id = ?", (merged, id))
        return
    values = (id, manifest.kind, manifest.base, manifest.base_revision, manifest.size_bytes, now, manifest.recipe)
    connection.execute(
        "INSERT INTO contents (id, kind, base, base_revision, size_bytes, created, recipe, metadata, manifest) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, metadata_text(metadata), text),
    )
    edges = {(id, parent.id, parent.role) for parent in manifest.parents}
    connection.executemany("INSERT INTO parents (child_id, parent_id, role) VALUES (?, ?, ?)", edges)


def _next_number(connection: sqlite3.Connection, name: str, kind: str) -> int:
    connection.execute(
        "INSERT INTO names (name, kind, last_number) VALUES (?, ?, 1) "
        "ON CONFLICT (name) DO UPDATE SET last_number = last_number + 1, kind = excluded.kind",
        (name, kind),
    )
    return connection.execute("SELECT last_number FROM names WHERE name = ?", (name,)).fetchone()[0]

"""Where a version came from and what was made from it: a graph of content ids.

A child's id is a hash over its parents' ids, so there are no cycles. A parent may be unknown here (it was never
imported, or removed by force): its edge stays, its node is missing.
"""

import json
import sqlite3
from dataclasses import dataclass

from hub.records import Version

_UP = """
    WITH RECURSIVE reached (id) AS (
        VALUES (?) UNION SELECT parent_id FROM parents JOIN reached ON child_id = reached.id)
    SELECT id FROM reached
"""
_DOWN = """
    WITH RECURSIVE reached (id) AS (
        VALUES (?) UNION SELECT child_id FROM parents JOIN reached ON parent_id = reached.id)
    SELECT id FROM reached
"""


@dataclass(frozen=True)
class Lineage:
    """All ancestors and descendants of one version, and itself.

    Attributes:
        root: the id that was asked for.
        nodes: one version for each id that is known here, the oldest first.
        edges: (parent id, child id, role), sorted; a parent id may have no node.
    """

    root: str
    nodes: list[Version]
    edges: list[tuple[str, str, str]]


def parent_edges(connection: sqlite3.Connection, id: str) -> list[tuple[str, str]]:
    """(role, parent id) of a content, sorted."""
    query = "SELECT role, parent_id FROM parents WHERE child_id = ? ORDER BY role, parent_id"
    return [(row["role"], row["parent_id"]) for row in connection.execute(query, (id,))]


def child_ids(connection: sqlite3.Connection, id: str) -> list[str]:
    """The contents with a visible version that were made from this one, in the order they were first published."""
    query = """
        SELECT v.content_id FROM parents p JOIN versions v ON v.content_id = p.child_id
        WHERE p.parent_id = ? AND v.hidden IS NULL GROUP BY v.content_id ORDER BY min(v.sequence)
    """
    return [row[0] for row in connection.execute(query, (id,))]


def reachable(connection: sqlite3.Connection, id: str) -> set[str]:
    """The ids of all ancestors and descendants, and the id itself."""
    return {row[0] for query in (_UP, _DOWN) for row in connection.execute(query, (id,))}


def edges_among(connection: sqlite3.Connection, ids: set[str]) -> list[tuple[str, str, str]]:
    """(parent, child, role) of every edge with both ends in `ids`, sorted."""
    wanted = json.dumps(sorted(ids))
    query = """
        SELECT parent_id, child_id, role FROM parents
        WHERE child_id IN (SELECT value FROM json_each(?1)) AND parent_id IN (SELECT value FROM json_each(?1))
        ORDER BY 1, 2, 3
    """
    return [tuple(row) for row in connection.execute(query, (wanted,))]

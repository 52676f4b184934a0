"""Aliases: movable words for a version of a name, moved by compare-and-swap, with a history of every move."""

import sqlite3
import time
from dataclasses import dataclass
from typing import Final

from hub.database import transaction
from hub.names import check_alias, check_name
from hub.records import find
from medley.errors import ConflictError, NotFoundError


class _Any:
    def __repr__(self) -> str:
        return "ANY"


ANY: Final = _Any()  # wherever the alias points now
Expected = int | None | _Any


@dataclass(frozen=True)
class AliasMove:
    """One move: a number is None where the alias did not exist, before or after."""

    name: str
    alias: str
    from_number: int | None
    to_number: int | None
    time: float


def set_alias(connection: sqlite3.Connection, name: str, alias: str, number: int, expected: Expected) -> None:
    """Point an alias at a visible version, if it points where `expected` says; nothing to do when it does already.

    Args:
        expected: the number it must point at now, None if it must not exist, ANY for whatever.

    Raises:
        ConflictError: it points somewhere else.
        NotFoundError, InvalidNameError: there is no such version; the alias cannot be used.
    """
    check_alias(alias)
    with transaction(connection):
        find(connection, f"{name}:v{number}")
        move(connection, name, alias, number, expected)


def remove_alias(connection: sqlite3.Connection, name: str, alias: str, expected: Expected) -> None:
    """Take an alias away.

    Raises:
        ConflictError: it points somewhere else than `expected`.
        NotFoundError: there is no such alias.
    """
    check_alias(alias)
    with transaction(connection):
        find(connection, f"{name}:{alias}")
        move(connection, name, alias, None, expected)


def move(connection: sqlite3.Connection, name: str, alias: str, number: int | None, expected: Expected = ANY) -> None:
    """The move itself, inside the caller's transaction; `number` None takes the alias away."""
    row = connection.execute("SELECT number FROM aliases WHERE name = ? AND alias = ?", (name, alias)).fetchone()
    current = row["number"] if row else None
    if not isinstance(expected, _Any) and current != expected:
        raise ConflictError(
            f"The alias {name}:{alias} {_points(current)}, not {_at(expected)}: somebody moved it. "
            f"Look again and retry."
        )
    if current == number:
        return
    if number is None:
        connection.execute("DELETE FROM aliases WHERE name = ? AND alias = ?", (name, alias))
    else:
        upsert = "INSERT INTO aliases VALUES (?, ?, ?) ON CONFLICT (name, alias) DO UPDATE SET number = excluded.number"
        connection.execute(upsert, (name, alias, number))
    log = "INSERT INTO alias_moves (name, alias, from_number, to_number, time) VALUES (?, ?, ?, ?, ?)"
    connection.execute(log, (name, alias, current, number, time.time()))


def _points(number: int | None) -> str:
    return "does not exist" if number is None else f"points at v{number}"


def _at(number: int | None) -> str:
    return "absent" if number is None else f"at v{number}"


def history(connection: sqlite3.Connection, name: str, alias: str) -> list[AliasMove]:
    """Every move of an alias, the first one first; [] for an alias that never was.

    Raises:
        NotFoundError: there is no such name.
    """
    check_name(name)
    if not connection.execute("SELECT 1 FROM names WHERE name = ?", (name,)).fetchone():
        raise NotFoundError(f"There is no version named '{name}'.")
    query = "SELECT name, alias, from_number, to_number, time FROM alias_moves WHERE name = ? AND alias = ? "
    return [AliasMove(*row) for row in connection.execute(query + "ORDER BY sequence", (name, alias))]

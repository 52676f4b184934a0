"""The one SQLite database of a home folder: how it is opened, locked, migrated, and how its failures are worded.

The registry and the jobs keep their tables in it, each with its own numbered migrations. A migration that was
released is never edited: a change is a new string at the end of the list. Several processes use the file at once.
"""

import errno
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medley.errors import StorageError

DATABASE_FILE = "registry.db"
BUSY_TIMEOUT_S = 30.0

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than is allowed here",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission is missing",
    errno.EPERM: "permission is missing",
    errno.EIO: "the disk reports an input/output error",
}


def connect(home: Path) -> sqlite3.Connection:
    """A connection to the home's database, for the calling thread alone; rows can be read by column name.

    Raises:
        StorageError: the file cannot be opened, or is no database.
    """
    with storage_errors(f"The database {home / DATABASE_FILE} could not be opened"):
        connection = sqlite3.connect(home / DATABASE_FILE, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        connection.row_factory = sqlite3.Row
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # SQLite does not wait by itself while another process switches the mode
        else:
            if mode != "wal":
                raise StorageError("This disk cannot hold a shared database. Choose a local one with MEDLEY_HOME.")


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of the block or nothing of it; holds the database's write lock from the first line on."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def migrate(connection: sqlite3.Connection, component: str, migrations: Sequence[str]) -> None:
    """Bring one component's tables up to date; cheap when they are.

    Args:
        component: whose tables, for example "registry" or "jobs".
        migrations: SQL scripts in the order they were written; the n-th makes schema n.

    Raises:
        StorageError: the tables were made by a newer Medley.
    """
    with storage_errors(f"The tables of '{component}' could not be brought up to date"):
        if _schema(connection, component, len(migrations)) == len(migrations):
            return
        with transaction(connection):
            connection.execute(
                "CREATE TABLE IF NOT EXISTS migrations (component TEXT NOT NULL, number INTEGER NOT NULL, "
                "applied REAL NOT NULL, PRIMARY KEY (component, number)) WITHOUT ROWID"
            )
            done = _schema(connection, component, len(migrations))  # another process may have been first
            for number, script in enumerate(migrations[done:], start=done + 1):
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (component, number, time.time()))


def _schema(connection: sqlite3.Connection, component: str, known: int) -> int:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchone():
        return 0
    query = "SELECT coalesce(max(number), 0) FROM migrations WHERE component = ?"
    schema = connection.execute(query, (component,)).fetchone()[0]
    if schema > known:
        raise StorageError(
            f"The tables of '{component}' have schema {schema}, but this Medley knows only {known}: "
            f"a newer Medley has used this home folder. Upgrade Medley, or choose another home with MEDLEY_HOME."
        )
    return schema


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit the transaction that they must share."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        raise ValueError(f"a migration ends in an incomplete statement: {statement.strip()!r}")


@contextmanager
def storage_errors(failure: str) -> Iterator[None]:
    """Turns what the disk or the database can do to us into a StorageError that begins with `failure`."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        reason += f" ({error.filename})" if error.filename else ""
        advice = "Free some space and try again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StorageError(f"{failure}: {reason}. {advice}".rstrip()) from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError | sqlite3.DataError):
            raise  # a mistake of ours, not of the disk
        raise StorageError(f"{failure}: {_database_reason(error)}") from error


def _database_reason(error: sqlite3.DatabaseError) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if _is_busy(error):
        return f"another process has held the database for more than {BUSY_TIMEOUT_S:g} s. Try again."
    if code == sqlite3.SQLITE_FULL:
        return "the disk is full. Free some space and try again."
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"the database is damaged ({error}). Restore {DATABASE_FILE} from a backup."
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"the database cannot be written ({error}). Check the folder's permissions."
    if code == sqlite3.SQLITE_IOERR:
        return f"the disk reports an input/output error ({error})."
    raise error

"""The database: durable settings, append-only migrations for several components, plain words for its failures."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import hub.database
from hub import Registry, open_registry
from hub.database import connect, migrate, storage_errors, transaction
from medley.errors import StorageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    return connect(tmp_path)


def test_settings_that_durability_rests_on(registry: Registry) -> None:
    settings = {name: registry._connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")}  # fmt: skip
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}


def test_migrations_are_applied_once_and_in_order(connection: sqlite3.Connection) -> None:
    first = "CREATE TABLE jobs (id TEXT);\n-- a comment; with a semicolon\nINSERT INTO jobs VALUES ('a;b');"
    migrate(connection, "jobs", [first])
    migrate(connection, "jobs", [first])
    migrate(connection, "registry", ["CREATE TABLE other (id TEXT);"])
    migrate(connection, "jobs", [first, "ALTER TABLE jobs ADD COLUMN state TEXT DEFAULT 'queued';"])
    assert [tuple(row) for row in connection.execute("SELECT id, state FROM jobs")] == [("a;b", "queued")]
    applied = connection.execute("SELECT component, number FROM migrations ORDER BY component, number")
    assert [tuple(row) for row in applied] == [("jobs", 1), ("jobs", 2), ("registry", 1)]


def test_a_trigger_is_one_statement(connection: sqlite3.Connection) -> None:
    script = """
        CREATE TABLE t (x INTEGER);
        CREATE TRIGGER twice AFTER INSERT ON t WHEN new.x < 10 BEGIN
            INSERT INTO t VALUES (new.x + 10);
            INSERT INTO t VALUES (new.x + 20);
        END;
    """
    migrate(connection, "jobs", [script])
    connection.execute("INSERT INTO t VALUES (1)")
    assert [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")] == [1, 11, 21]


def test_a_migration_that_fails_leaves_nothing(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table: absent"):
        migrate(connection, "jobs", ["CREATE TABLE jobs (id TEXT);", "INSERT INTO absent VALUES (1);"])
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    with pytest.raises(ValueError, match="incomplete statement"):
        migrate(connection, "jobs", ["CREATE TABLE jobs (id TEXT)"])


def test_a_newer_schema_is_refused(registry: Registry) -> None:
    registry._connection.execute("INSERT INTO migrations VALUES ('registry', 7, 0)")
    with pytest.raises(StorageError) as caught:
        open_registry(registry.home)
    assert str(caught.value) == (
        "The tables of 'registry' have schema 7, but this Medley knows only 1: a newer Medley has used this home "
        "folder. Upgrade Medley, or choose another home with MEDLEY_HOME."
    )


def test_a_transaction_is_all_or_nothing(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (x INTEGER)")

    def interrupted() -> None:
        with transaction(connection):
            connection.execute("INSERT INTO t VALUES (1)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not connection.in_transaction
    with transaction(connection):
        connection.execute("INSERT INTO t VALUES (2)")
    assert [row[0] for row in connection.execute("SELECT x FROM t")] == [2]


def test_a_busy_database_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.database, "BUSY_TIMEOUT_S", 0.1)
    first, second = connect(tmp_path), connect(tmp_path)
    with transaction(first), pytest.raises(StorageError) as caught, storage_errors("'x' was not moved"):  # noqa: SIM117
        with transaction(second):
            pass
    assert (
        str(caught.value) == "'x' was not moved: another process has held the database for more than 0.1 s. Try again."
    )


def test_our_own_mistakes_are_not_dressed_up(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError), storage_errors("x"):
        connection.execute("SELECT * FROM nowhere")
    connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    with pytest.raises(sqlite3.IntegrityError), storage_errors("x"):
        connection.executemany("INSERT INTO t VALUES (?)", [(1,), (1,)])


@pytest.mark.parametrize("kind", [None, "adapter"])
def test_listing_walks_an_index(registry: Registry, kind: str | None) -> None:
    """The speed that ten thousand versions need: no sorting, no scan of a table, a fixed number of look-ups a row."""
    statements: list[str] = []
    registry._connection.set_trace_callback(statements.append)
    registry.list(kind)
    registry._connection.set_trace_callback(None)
    assert len(statements) == 1
    plan = [row["detail"] for row in registry._connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    index = "names_by_kind (kind=? AND newest>?)" if kind else "names_by_newest (newest>?)"
    assert plan[0].replace("COVERING ", "") == f"SEARCH n USING INDEX {index}"
    assert not [step for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN")]


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import hub", {"hub"}),
        ("import hub; hub.open_registry(pathlib.Path(sys.argv[1])).list()", {"hub", "medley"}),
    ],
)
def test_the_hub_loads_nothing_from_outside(code: str, allowed: set[str], tmp_path: Path) -> None:
    """Nor, while it only lists, the parts of itself and of Python that cost time."""
    program = f"import pathlib, sys; {code}; print(*sys.modules)"
    command = [sys.executable, "-c", program, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    bare = subprocess.run([*command[:2], "import pathlib, sys; print(*sys.modules)"], capture_output=True, text=True)
    loaded = set(result.stdout.split()) - set(bare.stdout.split())
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names == allowed
    assert not loaded & {"hashlib", "shutil", "difflib", "uuid", "tempfile", "subprocess", "socket", "asyncio"}

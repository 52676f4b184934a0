"""The jobs' rows in the home's database: every change of state is one statement that says from which state it may come.

No processes and no signals here. Connections are opened per call, so that any thread and any process can use a store.
"""

import difflib
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from medley.errors import NotFoundError
from medley.jobs.job import WITH_PROCESS, Job, State
from medley.jobs.process import ProcessName
from medley.jobs.spec import JobSpec

MIGRATIONS = (
    """
    CREATE TABLE jobs (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        output_name TEXT NOT NULL,
        lane TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'queued'
            CHECK (state IN ('queued', 'running', 'stopping', 'done', 'failed', 'stopped', 'lost')),
        created REAL NOT NULL,
        started REAL,
        finished REAL,
        pid INTEGER,
        process_start TEXT,
        stop_requested REAL,
        error TEXT,
        result TEXT,
        resumed_from TEXT REFERENCES jobs (id)
    );
    CREATE UNIQUE INDEX one_worker_per_lane ON jobs (lane) WHERE state IN ('running', 'stopping');
    CREATE INDEX jobs_waiting ON jobs (lane, sequence) WHERE state = 'queued';
    CREATE INDEX jobs_by_state ON jobs (state, sequence);
    CREATE INDEX jobs_by_origin ON jobs (resumed_from) WHERE resumed_from IS NOT NULL;
    """,
)
COLUMNS = (
    "id, kind, title, lane, state, created, output_name, started, finished, pid, process_start, stop_requested, "
    "error, result, resumed_from"
)
ID_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is easily read as another
ID_LENGTH = 6
_random = random.SystemRandom()  # forked processes must not draw the same ids


class JobStore:
    """The table of jobs of one home folder."""

    def __init__(self, home: Path) -> None:
        from hub.database import connect, migrate

        self.home = home
        self.folder = home / "jobs"
        self.folder.mkdir(parents=True, exist_ok=True)
        with closing(connect(home)) as connection:
            migrate(connection, "jobs", MIGRATIONS)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        from hub.database import connect, storage_errors

        with storage_errors("The table of jobs could not be used"), closing(connect(self.home)) as connection:
            yield connection

    def _change(self, statement: str, values: Sequence[Any]) -> bool:
        """Run one UPDATE; whether a row was in the state it asks for."""
        with self._connection() as connection:
            return connection.execute(statement, values).rowcount == 1

    def _select(self, clause: str, values: Sequence[Any] = ()) -> list[Job]:
        with self._connection() as connection:
            rows = connection.execute(f"SELECT {COLUMNS} FROM jobs {clause}", values).fetchall()
        return [Job(**dict(row), folder=self.folder / row["id"]) for row in rows]

    def add(self, spec: JobSpec, *, resumed_from: str | None) -> Job:
        """A queued job: its folder with the spec first, then the row that makes it visible."""
        text = spec.to_yaml()
        job_id = self._new_folder(spec.kind)
        (self.folder / job_id / "spec.yaml").write_text(text, encoding="utf-8")
        statement = (
            "INSERT INTO jobs (id, kind, title, output_name, lane, created, resumed_from) VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        values = (job_id, spec.kind, spec.title, spec.output_name, spec.lane, time.time(), resumed_from)
        with self._connection() as connection:
            connection.execute(statement, values)
        return self.get(job_id)

    def _new_folder(self, kind: str) -> str:
        """A fresh id; making its folder is what reserves it, for every process at once."""
        while True:
            job_id = f"{kind}-{''.join(_random.choices(ID_LETTERS, k=ID_LENGTH))}"
            try:
                (self.folder / job_id).mkdir()
            except FileExistsError:
                continue
            (self.folder / job_id / "out").mkdir()
            return job_id

    def get(self, job_id: str) -> Job:
        """Raises: NotFoundError, with the nearest id that exists."""
        found = self._select("WHERE id = ?", (job_id,))
        if found:
            return found[0]
        with self._connection() as connection:
            known = [row[0] for row in connection.execute("SELECT id FROM jobs ORDER BY sequence DESC LIMIT 500")]
        close = difflib.get_close_matches(job_id, known, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else "`medley job list` shows them."
        raise NotFoundError(f"There is no job {job_id[:60]!a}. {hint}")

    def newest(self, limit: int | None, states: Sequence[State]) -> list[Job]:
        """The newest first; of the given states, or of all when none is given."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        return self._select(f"{where} ORDER BY sequence DESC LIMIT ?", (*states, -1 if limit is None else limit))

    def with_process(self, lane: str | None = None) -> list[Job]:
        """The jobs that should have a worker; a handful at most, however many jobs there are."""
        clause, values = ("AND lane = ?", (lane,)) if lane else ("", ())
        return self._select(f"WHERE state IN ('running', 'stopping') {clause}", values)

    def waiting(self, lane: str) -> list[Job]:
        """The queue of a lane, the next first."""
        return self._select("WHERE state = 'queued' AND lane = ? ORDER BY sequence", (lane,))

    def waiting_lanes(self) -> list[str]:
        with self._connection() as connection:
            return [row[0] for row in connection.execute("SELECT DISTINCT lane FROM jobs WHERE state = 'queued'")]

    def retries(self, job_id: str) -> list[Job]:
        """The jobs that were made to retry this one."""
        return self._select("WHERE resumed_from = ? ORDER BY sequence", (job_id,))

    def mark_running(self, job_id: str, process: ProcessName) -> bool:
        """queued -> running; False when it was stopped meanwhile."""
        return self._change(
            "UPDATE jobs SET state = 'running', started = ?, pid = ?, process_start = ? "
            "WHERE id = ? AND state = 'queued'",
            (time.time(), process.pid, process.start, job_id),
        )

    def mark_stopping(self, job_id: str, requested: float) -> bool:
        """running -> stopping, or an earlier request for a job that is stopping already."""
        return self._change(
            "UPDATE jobs SET state = 'stopping', stop_requested = min(coalesce(stop_requested, ?), ?) "
            "WHERE id = ? AND state IN ('running', 'stopping')",
            (requested, requested, job_id),
        )

    def finish(
        self,
        job: Job,
        state: State,
        *,
        error: str | None = None,
        result: str | None = None,
    ) -> bool:
        """Into a final state, from the state and process that `job` was read with; False when it has moved on."""
        if job.state in WITH_PROCESS:
            condition, values = "state IN ('running', 'stopping') AND pid IS ?", (job.pid,)
        else:
            condition, values = "state = ?", (job.state,)
        return self._change(
            f"UPDATE jobs SET state = ?, finished = ?, error = ?, result = ? WHERE id = ? AND {condition}",
            (state, time.time(), error, result, job.id, *values),
        )

"""Rows change only along the states' arrows, ids never repeat, and listing does not read the whole table."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hub.database import connect
from medley.errors import JobError, NotFoundError
from medley.jobs import Jobs, JobSpec
from medley.jobs.job import FINAL
from medley.jobs.process import ProcessName
from medley.jobs.store import JobStore

SPEC = JobSpec("import", "Import rows", {}, "rows")
GONE = ProcessName(2**22 + 1, "never")  # above every pid that Linux gives


@pytest.fixture
def store(medley_home: Path) -> JobStore:
    return JobStore(medley_home)


def test_a_new_job_is_queued_with_its_spec_beside_it(store: JobStore) -> None:
    job = store.add(SPEC, resumed_from=None)
    assert (job.state, job.lane, job.kind, job.output_name) == ("queued", "light", "import", "rows")
    assert job.folder == store.home / "jobs" / job.id
    assert job.spec_path.read_text() == SPEC.to_yaml()
    assert job.out_dir.is_dir()


def test_ids_are_unique_and_say_their_kind(store: JobStore) -> None:
    ids = {store.add(SPEC, resumed_from=None).id for _ in range(50)}
    assert len(ids) == 50
    assert all(job_id.startswith("import-") and len(job_id) == len("import-") + 6 for job_id in ids)


def test_a_job_with_a_token_leaves_no_trace(store: JobStore) -> None:
    with pytest.raises(JobError, match="There is an access token"):
        store.add(JobSpec("import", "t", {"source": "hf_" + "a1" * 20}, "x"), resumed_from=None)
    assert store.newest(None, ()) == []
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize("final", FINAL)
def test_final_states_are_final(store: JobStore, final: str) -> None:
    job_id = store.add(SPEC, resumed_from=None).id
    assert store.mark_running(job_id, GONE)
    running = store.get(job_id)
    assert store.finish(running, final, error="why")
    assert not store.mark_running(job_id, GONE)
    assert not store.mark_stopping(job_id, 1.0)
    assert not store.finish(running, "done", result="0" * 64)
    ended = store.get(job_id)
    assert (ended.state, ended.error, ended.result) == (final, "why", None)


def test_only_the_worker_that_was_noted_can_end_a_running_job(store: JobStore) -> None:
    """Somebody who read the row before the worker was noted must not settle it."""
    queued = store.add(SPEC, resumed_from=None)
    store.mark_running(queued.id, GONE)
    assert not store.finish(queued, "stopped")
    assert store.get(queued.id).state == "running"


def test_an_earlier_request_to_stop_is_kept(store: JobStore) -> None:
    job_id = store.add(SPEC, resumed_from=None).id
    store.mark_running(job_id, GONE)
    store.mark_stopping(job_id, 100.0)
    store.mark_stopping(job_id, 200.0)
    assert store.get(job_id).stop_requested == 100.0
    store.mark_stopping(job_id, 50.0)
    assert store.get(job_id).stop_requested == 50.0


def test_the_database_itself_refuses_a_second_worker_in_a_lane(store: JobStore) -> None:
    first, second = store.add(SPEC, resumed_from=None), store.add(SPEC, resumed_from=None)
    store.mark_running(first.id, GONE)
    with pytest.raises(sqlite3.IntegrityError):
        store.mark_running(second.id, GONE)


def test_the_newest_come_first_and_can_be_chosen_by_state(store: JobStore) -> None:
    ids = [store.add(SPEC, resumed_from=None).id for _ in range(3)]
    store.finish(store.get(ids[1]), "stopped")
    assert [job.id for job in store.newest(2, ())] == [ids[2], ids[1]]
    assert [job.id for job in store.newest(None, ("queued",))] == [ids[2], ids[0]]
    assert [job.id for job in store.waiting("light")] == [ids[0], ids[2]]
    assert store.waiting("merge") == []


def test_an_unknown_state_is_named(jobs: Jobs) -> None:
    with pytest.raises(JobError) as caught:
        jobs.list(states=("runing",))
    assert str(caught.value) == (
        "There is no job state 'runing'. Known: queued, running, stopping, done, failed, stopped, lost."
    )


def test_without_jobs_the_message_says_where_they_are_listed(store: JobStore) -> None:
    with pytest.raises(NotFoundError) as caught:
        store.get("../../etc")
    assert str(caught.value) == "There is no job '../../etc'. `medley job list` shows them."


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM jobs WHERE state IN ('running', 'stopping')",
        "SELECT DISTINCT lane FROM jobs WHERE state = 'queued'",
        "SELECT id FROM jobs WHERE state = 'queued' AND lane = 'light' ORDER BY sequence",
        "SELECT id FROM jobs WHERE resumed_from = 'x' ORDER BY sequence",
    ],
)
def test_what_every_listing_asks_is_answered_from_an_index(store: JobStore, query: str) -> None:
    """With ten thousand finished jobs the running ones must still be found at once."""
    with closing(connect(store.home)) as connection:
        plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert not any(line.startswith("SCAN jobs") and "INDEX" not in line for line in plan), plan

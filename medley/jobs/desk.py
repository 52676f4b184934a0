"""Where jobs are handed in, looked at, stopped and retried. Every call leaves the rows true and the queue moving.

Nothing here keeps state in memory: any process, thread or browser tab that opens the same home sees the same jobs.
"""

from __future__ import annotations  # a method is called `list`, and would stand for the type below it

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medley.errors import JobError
from medley.events import read_events
from medley.jobs.job import RETRYABLE, STATES, Job, State
from medley.jobs.queue import Grace, read_tail, reconcile
from medley.jobs.spec import JobSpec, parse_spec
from medley.jobs.store import JobStore


def open_jobs(home: Path | None = None, *, grace: Grace | None = None) -> Jobs:
    """The jobs of a home folder ($MEDLEY_HOME or the platform's when not given), made when it is not there."""
    from hub.home import home_dir

    return Jobs(home if home is not None else home_dir(), grace=grace)


class Jobs:
    """The jobs of one home folder.

    Args:
        home: the home folder.
        grace: how long a job may take to stop before it is made to.
    """

    def __init__(self, home: Path, *, grace: Grace | None = None) -> None:
        self.home = Path(home).absolute()
        self.grace = grace or Grace()
        self.store = JobStore(self.home)
        self.reconcile()

    def reconcile(self) -> None:
        """Settle jobs whose worker is gone, press those that should stop, and start what can start."""
        reconcile(self.store, self.grace)

    def submit(self, spec: JobSpec, *, resumed_from: str | None = None) -> Job:
        """Queue a job and start it if its lane is free.

        Raises:
            JobError: an access token stands in the spec.
        """
        job = self.store.add(spec, resumed_from=resumed_from)
        self.reconcile()
        return self.store.get(job.id)

    def get(self, job_id: str) -> Job:
        """One job as it is now.

        Raises:
            NotFoundError: there is no job of that id.
        """
        self.reconcile()
        return self.store.get(job_id)

    def list(self, limit: int | None = 50, states: Sequence[State] = ()) -> list[Job]:
        """The newest jobs first, all states or the given ones."""
        unknown = sorted(set(states) - set(STATES))
        if unknown:
            raise JobError(f"There is no job state '{unknown[0]}'. Known: {', '.join(STATES)}.")
        self.reconcile()
        return self.store.newest(limit, states)

    def spec(self, job_id: str) -> JobSpec:
        """What the job was asked to do."""
        return parse_spec(self.store.get(job_id).spec_path.read_text(encoding="utf-8"))

    def queue_position(self, job: Job) -> int | None:
        """1 for the next of its lane, 2 for the one after it; None when it is not waiting."""
        waiting = [each.id for each in self.store.waiting(job.lane)]
        return waiting.index(job.id) + 1 if job.id in waiting else None

    def stop(self, job_id: str, *, now: bool = False) -> Job:
        """Ask a job to stop; a training saves a checkpoint first. It is made to when it does not in `grace`.

        Args:
            now: do not wait for it to save; SIGTERM at once, SIGKILL soon after.

        Raises:
            JobError: it has ended already.
        """
        job = self.get(job_id)
        if job.is_finished:
            raise JobError(f"Job '{job.id}' has ended already ({job.state}); there is nothing to stop.")
        if not (job.state == "queued" and self.store.finish(job, "stopped")):
            self.store.mark_stopping(job.id, time.time() - (self.grace.flag_s if now else 0))
        return self.get(job_id)

    def retry(self, job_id: str) -> Job:
        """A new job with the same spec; a training goes on from the last checkpoint of this one.

        Raises:
            JobError: this one has not failed, stopped or got lost, or is being retried already.
        """
        job = self.get(job_id)
        if job.state not in RETRYABLE:
            raise JobError(f"Job '{job.id}' is {job.state}; only a failed, stopped or lost job can be retried.")
        again = next((each for each in self.store.retries(job.id) if not each.is_finished), None)
        if again is not None:
            raise JobError(f"Job '{job.id}' is being retried already, as '{again.id}'.")
        return self.submit(self.spec(job_id), resumed_from=job_id)

    def events(self, job_id: str, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The job's events after a byte offset, and the offset to ask for next time."""
        return read_events(self.store.get(job_id).events_path, offset)

    def log_tail(self, job_id: str, lines: int = 40) -> str:
        """The last lines that the worker printed."""
        return "\n".join(read_tail(self.store.get(job_id).log_path, lines))

    def wait(self, job_id: str, timeout_s: float | None = None, *, poll_s: float = 0.2) -> Job:
        """The job once it has ended, or as it is when the time is over."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            job = self.get(job_id)
            if job.is_finished or (deadline is not None and time.monotonic() >= deadline):
                return job
            time.sleep(poll_s)

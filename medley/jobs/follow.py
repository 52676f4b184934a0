"""Watching a job from outside: its events and its changes of state, one after the other, until it has ended.

Only files and rows are read; leaving the loop, or a closed terminal, changes nothing for the job.
"""

import time
from collections.abc import Iterator
from typing import Any

from medley.jobs.desk import Jobs


def follow_job(jobs: Jobs, job_id: str, *, offset: int = 0, poll_s: float = 0.3) -> Iterator[dict[str, Any]]:
    """The job's events from an offset on, until it has ended.

    Between them stands `{"kind": "state", "state": "running", "offset": 123}` at the beginning and whenever the state
    has changed; the last one names the final state and comes after all events. Its offset serves to go on later.

    Raises:
        NotFoundError: there is no job of that id.
    """
    last_state = None
    while True:
        job = jobs.get(job_id)  # before the events: when it says "done", the events read after it are all there are
        events, offset = jobs.events(job_id, offset)
        yield from events
        if job.state != last_state:
            yield {"kind": "state", "state": job.state, "offset": offset}
        if job.is_finished:
            return
        last_state = job.state
        time.sleep(poll_s)

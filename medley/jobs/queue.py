"""Which job runs next. No daemon: whoever submits, lists, or finishes a job also tidies up and starts the next.

A lane's flock is held while its next worker is started, so that any number of processes may try at once and one
worker results. `reconcile` is what makes the rows true again after a kill, a crash or a power cut.
"""

import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM

from medley.errors import UserError
from medley.jobs.job import Job
from medley.jobs.process import ProcessName, identify, is_alive, signal_group, spawn_detached
from medley.jobs.spec import MERGE_LANE, parse_spec
from medley.jobs.store import JobStore


@dataclass(frozen=True)
class Grace:
    """How long a job that was asked to stop may go on by itself.

    Attributes:
        flag_s: seconds to notice the request and save; then SIGTERM goes to its process group.
        term_s: further seconds before SIGKILL.
    """

    flag_s: float = 60.0
    term_s: float = 15.0


@contextmanager
def lane_lock(store: JobStore, lane: str) -> Iterator[None]:
    """Held by one process (or thread) at a time; the kernel lets it go when its holder dies."""
    folder = store.folder / "lanes"
    folder.mkdir(exist_ok=True)
    with (folder / f"{lane.replace(':', '-')}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start_next(store: JobStore, lane: str) -> None:
    """Start the oldest queued job of a lane unless one is running; one that cannot start makes way for the next."""
    with lane_lock(store, lane):
        if store.with_process(lane):
            return
        for job in store.waiting(lane):
            try:
                process = _spawn_worker(store, job)
            except OSError as error:
                store.finish(job, "failed", error=f"The worker could not be started: {error.strerror or error}.")
                continue
            if process is None:
                store.finish(job, "lost", error=_last_words(job))
            elif store.mark_running(job.id, process):
                return


def claim(store: JobStore, job_id: str) -> Job | None:
    """What a worker calls first: its job, or None when the job is somebody else's or was stopped.

    Whoever started the worker has noted its pid, or was killed before it could; then the worker notes it itself.
    """
    me = identify(os.getpid())
    assert me is not None, "this process runs"
    job = store.get(job_id)
    with lane_lock(store, job.lane):
        job = store.get(job_id)
        if job.state == "queued" and not store.with_process(job.lane) and store.mark_running(job.id, me):
            job = store.get(job_id)
    return job if job.process == me and not job.is_finished else None


def reconcile(store: JobStore, grace: Grace) -> None:
    """Make the rows true: settle jobs whose worker is gone, press those that should stop, start what can start."""
    busy = set()
    for job in store.with_process():
        if job.process is not None and is_alive(job.process):
            busy.add(job.lane)
            press_to_stop(job, grace)
        else:
            _settle(store, job)
    for lane in store.waiting_lanes():
        if lane not in busy:
            start_next(store, lane)


def press_to_stop(job: Job, grace: Grace) -> None:
    """Send the signal that is due, if any, to a job that was asked to stop and has not."""
    if job.stop_requested is None or job.process is None:
        return
    waited_s = time.time() - job.stop_requested
    if waited_s >= grace.flag_s + grace.term_s:
        signal_group(job.process, SIGKILL)
    elif waited_s >= grace.flag_s:
        signal_group(job.process, SIGTERM)


def _settle(store: JobStore, job: Job) -> None:
    """A job whose worker is gone: done if its result was already published, stopped if asked to, otherwise lost."""
    published = _published_by(store.home, job)
    if published is not None:
        store.finish(job, "done", result=published)
    elif job.state == "stopping":
        store.finish(job, "stopped")
    else:
        store.finish(job, "lost", error=_last_words(job))
    if job.kind in MERGE_LANE:  # half-written weights, of no use to a retry; a training's checkpoints are
        _remove_unfinished(job)


def _remove_unfinished(job: Job) -> None:
    """What a killed merge or fold had written, in the job's folder and beside the user's that it was to become."""
    from merging.staging import remove_unfinished

    shutil.rmtree(job.out_dir, ignore_errors=True)
    with contextlib.suppress(OSError, UserError):  # without its spec, or its disk, the job is over all the same
        out = parse_spec(job.spec_path.read_text(encoding="utf-8")).params.get("out")
        if out is not None and job.pid is not None:
            remove_unfinished(Path(out), job.pid)


def _published_by(home: Path, job: Job) -> str | None:
    """The version that the job had published when it was killed, before it could say so."""
    from hub import open_registry

    registry = open_registry(home)
    if not job.output_name or not registry.exists(job.output_name):
        return None
    versions = registry.versions(job.output_name)
    return next((each.id for each in versions if each.metadata.get("job") == job.id), None)


def _last_words(job: Job) -> str:
    sentence = "The worker ended without a result: it was killed, ran out of memory, or the machine restarted."
    lines = [line for line in read_tail(job.log_path, 5) if line.strip()]
    return f"{sentence} Last line of its log: {lines[-1].strip()[:300]}" if lines else sentence


def read_tail(path: Path, lines: int, max_bytes: int = 65_536) -> list[str]:
    """The last lines of a text file, however long the file is; none when it is not there."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - max_bytes))
        text = file.read().decode("utf-8", errors="replace")
    return text.splitlines()[-lines:]


def _spawn_worker(store: JobStore, job: Job) -> ProcessName | None:
    command = [sys.executable, "-P", "-m", "medley.jobs.worker", str(store.home), job.id]
    environment = {**os.environ, "MEDLEY_HOME": str(store.home), "PYTHONUNBUFFERED": "1"}
    root = Path(__file__).resolve().parents[2]
    if root.name not in ("site-packages", "dist-packages"):  # a checkout, or a Space, that is not installed
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return spawn_detached(command, folder=job.folder, log=job.log_path, environment=environment)

"""The process that does one job: `python -m medley.jobs.worker <home> <job id>`, started by the queue.

It claims the job, runs its kind's runner, writes down how it ended, and starts the next of its lane.
stdout and stderr are the job's log.txt; nobody waits for it.
"""

import contextlib
import importlib
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from medley.errors import StorageError, UserError
from medley.events import EventLog
from medley.jobs.job import Job
from medley.jobs.queue import Grace, claim, press_to_stop, start_next
from medley.jobs.secrets import ScrubbedStream, scrub, scrub_value
from medley.jobs.spec import parse_spec
from medley.jobs.store import JobStore
from medley.jobs.work import JobStopped, JobWork

RUNNERS = {  # kind of job -> module with `run(work) -> id of the published version`, or None
    "train": "medley.jobs.run_train",
    "merge": "medley.jobs.run_merge",
    "extract": "medley.jobs.run_extract",
    "convert": "medley.jobs.run_convert",
    "fold": "medley.jobs.run_fold",
    "import": "medley.jobs.run_import",
    "mix": "medley.jobs.run_mix",
    "compare-types": "medley.jobs.run_compare_types",
    "learn-weights": "medley.jobs.run_learn_weights",
}
WATCH_EVERY_S = 0.5
LIKELY_CAUSES = (  # a part of the last line of a traceback, and what to tell the user
    ("out of memory", "The memory was not enough: try a smaller batch_size or max_length, or quant=4bit."),
    ("MemoryError", "The memory was not enough: try a smaller batch_size or max_length."),
    ("No space left on device", "The disk is full: free some space and retry the job."),
    ("Disk quota exceeded", "The disk quota is used up: free some space and retry the job."),
)


def main(arguments: Sequence[str]) -> int:
    """Do the job; 0 when it is done or stopped, 1 when it failed, 2 when there was nothing to do."""
    home, job_id = Path(arguments[0]), arguments[1]
    sys.stdout, sys.stderr = ScrubbedStream(sys.stdout), ScrubbedStream(sys.stderr)
    warnings.simplefilter(
        "ignore", FutureWarning
    )  # libraries telling each other; the log's last line is shown to users
    store = JobStore(home)
    job = claim(store, job_id)
    if job is None:
        print(f"Job {job_id} is done by another worker, or was stopped before it began.")
        return 2
    signal.signal(signal.SIGTERM, _stop_now)
    try:
        return _do(store, job)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        start_next(store, job.lane)


def _stop_now(signal_number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut off the tidying up
    raise JobStopped


def _do(store: JobStore, job: Job) -> int:
    """Run the job and write down how it ended."""
    events = EventLog(job.events_path)
    should_stop = threading.Event()
    if job.stop_requested is not None:
        should_stop.set()
    threading.Thread(target=_watch, args=(store, job, should_stop), daemon=True).start()
    try:
        _run(store, job, events, should_stop)
    except JobStopped:
        store.finish(job, "stopped")
        return 0
    except UserError as error:
        return _fail(store, job, events, scrub(str(error)))
    except Exception as error:
        traceback.print_exc()
        return _fail(store, job, events, scrub(explain(error)))
    return 0


def _fail(store: JobStore, job: Job, events: EventLog, message: str) -> int:
    print(f"Error: {message}", file=sys.stderr)
    with contextlib.suppress(OSError):  # a full disk may be what there is to say
        events.emit("error", text=message)
    store.finish(job, "failed", error=message)
    return 1


def _run(store: JobStore, job: Job, events: EventLog, should_stop: threading.Event) -> None:
    """Do the work; once it is registered, nothing in the `out` folders is needed any more."""
    from hub import open_registry

    def emit(kind: Any, **fields: Any) -> None:
        events.emit(kind, **scrub_value(fields))

    work = JobWork(
        job=job,
        spec=parse_spec(job.spec_path.read_text(encoding="utf-8")),
        registry=open_registry(store.home),
        emit=emit,
        should_stop=should_stop.is_set,
        earlier=_earlier(store, job),
    )
    work.emit_or_stop("progress", step=0, total=0, text="Starting")
    for warning in work.spec.params.get("warnings", ()):
        emit("warning", text=warning)
    result = importlib.import_module(RUNNERS[work.spec.kind]).run(work)
    if result is not None:  # None: a folder was written, and nothing registered
        emit("artifact", id=result, name=work.spec.output_name)
    for folder in (work.out_dir, *work.earlier):  # checkpoints are several times the size of what was published
        shutil.rmtree(folder, ignore_errors=True)
    store.finish(job, "done", result=result)


def _earlier(store: JobStore, job: Job) -> tuple[Path, ...]:
    folders = []
    while job.resumed_from is not None:
        job = store.get(job.resumed_from)
        folders.append(job.out_dir)
    return tuple(folders)


def _watch(store: JobStore, job: Job, should_stop: threading.Event) -> None:
    """Look for a request to stop, and see to it that it is obeyed even when nobody lists the jobs."""
    while True:
        time.sleep(WATCH_EVERY_S)
        try:
            now = store.get(job.id)
        except StorageError:
            continue  # the database was busy for long; the next look will tell
        if now.stop_requested is not None:
            should_stop.set()
            press_to_stop(now, Grace())


def explain(error: BaseException) -> str:
    """One line for an unforeseen error: what it was, the likely cause where we know one, and where to read on."""
    last_line = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1][:500]
    cause = next((advice for sign, advice in LIKELY_CAUSES if sign in last_line), "")
    return " ".join(filter(None, [last_line.rstrip(".") + ".", cause, "The log has the whole traceback."]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A job as the outside sees it: one row, its folder and the files in it. The states, and which of them are final."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medley.jobs.process import ProcessName

State = Literal["queued", "running", "stopping", "done", "failed", "stopped", "lost"]
STATES: tuple[State, ...] = ("queued", "running", "stopping", "done", "failed", "stopped", "lost")
WITH_PROCESS: tuple[State, ...] = ("running", "stopping")
FINAL: tuple[State, ...] = ("done", "failed", "stopped", "lost")
RETRYABLE: tuple[State, ...] = ("failed", "stopped", "lost")


@dataclass(frozen=True)
class Job:
    """One job's row at the moment it was read.

    Attributes:
        id: unique for ever, as users type it: "train-k7m2qx".
        kind, title, output_name: from its spec.
        lane: at most one job of a lane runs at a time.
        state: queued -> running -> (stopping ->) done, failed, stopped or lost; the last four are final.
        created, started, finished: seconds since 1970, UTC.
        pid, process_start: the worker, as long as it has one.
        stop_requested: when somebody asked it to stop, or None.
        error: why it failed or got lost, in the user's words.
        result: the id of the version it published, or None where it published none.
        resumed_from: the job that this one retries.
        folder: holds spec.yaml, events.jsonl, log.txt and out/.
    """

    id: str
    kind: str
    title: str
    lane: str
    state: State
    created: float
    folder: Path
    output_name: str = ""
    started: float | None = None
    finished: float | None = None
    pid: int | None = None
    process_start: str | None = None
    stop_requested: float | None = None
    error: str | None = None
    result: str | None = None
    resumed_from: str | None = None

    @property
    def is_finished(self) -> bool:
        return self.state in FINAL

    @property
    def process(self) -> ProcessName | None:
        """The worker that was started for it, alive or not."""
        return None if self.pid is None else ProcessName(self.pid, self.process_start or "")

    @property
    def spec_path(self) -> Path:
        return self.folder / "spec.yaml"

    @property
    def events_path(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def log_path(self) -> Path:
        return self.folder / "log.txt"

    @property
    def out_dir(self) -> Path:
        return self.folder / "out"

    @property
    def tracking_dir(self) -> Path:
        """Where a tracker's files are, if there are any; unlike `out_dir` it stays when the job is done."""
        return self.folder / "tracking"

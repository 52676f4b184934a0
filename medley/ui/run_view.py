"""A job's events folded into what a page shows: curves, progress, samples, warnings. Plain values, no Gradio.

A view remembers how far it has read; reading on from there is cheap however long the run, and a fresh view that reads
from the start shows the same. That is why a reloaded tab goes on where it was.
"""

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medley.jobs import Jobs

MAX_SAMPLES = 60
SPEED_WINDOW = 20  # progress events over which the time left is estimated


@dataclass
class RunView:
    """What is known of a run after reading its events up to `offset`."""

    job_id: str = ""
    offset: int = 0
    step: int = 0
    total: int = 0
    text: str = ""
    metrics: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    checkpoints: list[tuple[int, float]] = field(default_factory=list)  # (step, when it was saved)
    latest: dict[str, float] = field(default_factory=dict)
    clock: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SPEED_WINDOW))

    def read(self, jobs: "Jobs") -> bool:
        """Take in what was written since the last time; whether there was anything."""
        events, self.offset = jobs.events(self.job_id, self.offset)
        for event in events:
            self.take(event)
        return bool(events)

    def take(self, event: dict[str, Any]) -> None:
        """Take in one event; kinds and fields that are not known are passed over."""
        kind = event.get("kind")
        if kind == "progress":
            self._progress(event)
        elif kind == "metric":
            self._metric(event)
        elif kind == "sample":
            self._sample(event)
        elif kind == "warning":
            self.warnings.append(str(event.get("text", "")))
        elif kind == "error":
            self.errors.append(str(event.get("text", "")))
        elif kind == "checkpoint":
            self._checkpoint(event)

    def _sample(self, event: dict[str, Any]) -> None:
        """Keep it; of many samples the first step's stay, to see where it began, and the newest."""
        self.samples = [*self.samples, event]
        if len(self.samples) > MAX_SAMPLES:
            first = self.samples[0].get("step")
            self.samples.pop(next((i for i, each in enumerate(self.samples) if each.get("step") != first), 0))

    def _checkpoint(self, event: dict[str, Any]) -> None:
        step = _whole(event.get("step"))
        if step is not None:
            earlier = [each for each in self.checkpoints if each[0] != step]
            self.checkpoints = [*earlier, (step, float(event.get("time") or 0))]

    def _progress(self, event: dict[str, Any]) -> None:
        step, total, text = _whole(event.get("step")) or 0, _whole(event.get("total")) or 0, str(event.get("text", ""))
        if text != self.text or total != self.total or step < self.step:
            self.clock.clear()  # another phase goes at another speed
        self.step, self.total, self.text = step, total, text
        self.clock.append((float(event.get("time") or 0), step))

    def _metric(self, event: dict[str, Any]) -> None:
        step = _whole(event.get("step"))
        for name, value in event.items():
            if name in ("kind", "time", "step") or isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            self.latest[name] = float(value)
            if step is not None:
                self.metrics.setdefault(name, []).append((float(step), float(value)))

    @property
    def share(self) -> float | None:
        """How much of the present phase is done, 0 to 1; None before anything is known."""
        return self.step / self.total if self.total else None

    @property
    def seconds_left(self) -> float | None:
        """At the speed of the last steps; None as long as there is no speed."""
        if len(self.clock) < 2 or not self.total:
            return None
        (start, first), (end, last) = self.clock[0], self.clock[-1]
        if last <= first or end <= start:
            return None
        return max(0.0, (self.total - self.step) * (end - start) / (last - first) - max(0.0, time.time() - end))

    def curve(self, name: str) -> list[tuple[float, float]]:
        """The points of a metric; after a resume the later value of a step counts."""
        return sorted(dict(self.metrics.get(name, [])).items())


class RunShelf:
    """The views of the jobs looked at last, so that every look reads only what is new; shared by all tabs."""

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._views: OrderedDict[str, RunView] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, jobs: "Jobs", job_id: str) -> RunView:
        """A job's view that has read everything there is."""
        with self._lock:
            view = self._views.setdefault(job_id, RunView(job_id))
            self._views.move_to_end(job_id)
            while len(self._views) > self._limit:
                self._views.popitem(last=False)
            view.read(jobs)
            return view


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

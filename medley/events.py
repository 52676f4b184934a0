"""What long work tells about itself while it runs, and the append-only file that keeps it.

A line is `{"time": …, "kind": …, "step": …, …}`. Trainers and merges only call `emit(kind, **fields)`; the job worker
passes one that writes `events.jsonl`; the app and `medley job logs -f` read that file by offset and never block it.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

EventKind = Literal["progress", "metric", "sample", "checkpoint", "warning", "error", "artifact"]
Emit = Callable[..., None]  # emit(kind, **fields); "progress" has step, total and text; "metric" the field's own names


def ignore_event(kind: EventKind, **fields: Any) -> None:
    """For callers who do not want to know."""


class EventLog:
    """Appends events to a file; one writer, any number of readers.

    A line is written with one `write` and flushed, so that a reader sees whole lines up to the last newline.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8")

    def emit(self, kind: EventKind, **fields: Any) -> None:
        """Write one event now; numbers that JSON has no word for become null."""
        line = {"time": round(time.time(), 3), "kind": kind, **{name: _finite(value) for name, value in fields.items()}}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The events after a byte offset, and the offset to ask for next time.

    A line that is still being written is left for the next call; a missing file has no events. A damaged line
    (the machine lost power in mid-write) is passed over, so that the rest stays readable.
    """
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    end = data.rfind(b"\n") + 1
    events = []
    for line in data[:end].splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return [event for event in events if isinstance(event, dict)], offset + end

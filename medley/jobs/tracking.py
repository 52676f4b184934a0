"""A job's metrics as TensorBoard or Trackio files too, beside its own events. Local files: no network, no account."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from medley.errors import MissingDependencyError
from medley.events import Emit

PROJECT = "medley"
NO_METRICS = ("step",)
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID")  # would send the numbers away

Log = Callable[[int, Mapping[str, float]], None]


def check_tracker(log_to: str) -> None:
    """Nothing, if files for this tracker can be written here.

    Raises:
        MissingDependencyError: its package is not installed.
    """
    if log_to != "none" and importlib.util.find_spec(log_to) is None:
        raise MissingDependencyError(
            f"log_to={log_to} needs the package {log_to}, which is not installed. "
            "Install it with: pip install 'medley[track]'"
        )


@contextmanager
def tracked(emit: Emit, log_to: str, folder: Path, run_name: str) -> Iterator[Emit]:
    """An `emit` that writes each metric to the tracker's files in `folder` as well, and says where they are.

    Raises:
        MissingDependencyError: the tracker's package is not installed.
    """
    if log_to == "none":
        yield emit
        return
    check_tracker(log_to)
    folder.mkdir(exist_ok=True)
    with TRACKERS[log_to](folder, run_name) as log:
        emit("artifact", path=str(folder), name=f"{log_to} files")

        def emit_and_log(kind: Any, **fields: Any) -> None:
            emit(kind, **fields)
            if kind == "metric":
                log(fields["step"], numbers_of(fields))

        yield emit_and_log


def numbers_of(fields: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a metric event by name; flags and what was not measured are none."""
    is_number = {
        name: isinstance(value, (int, float)) and not isinstance(value, bool) for name, value in fields.items()
    }
    return {name: float(value) for name, value in fields.items() if is_number[name] and name not in NO_METRICS}


@contextmanager
def _tensorboard(folder: Path, run_name: str) -> Iterator[Log]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(log_dir=str(folder / run_name))

    def log(step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)

    try:
        yield log
    finally:
        writer.close()


@contextmanager
def _trackio(folder: Path, run_name: str) -> Iterator[Log]:
    """Trackio reads its folder from the environment when it is imported; a worker does one job, so once is enough."""
    os.environ["TRACKIO_DIR"] = str(folder)
    for name in ELSEWHERE:
        os.environ.pop(name, None)
    import trackio

    run = trackio.init(
        project=PROJECT, name=run_name, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
    )
    try:
        yield lambda step, numbers: run.log(dict(numbers), step=step)
    finally:
        run.finish()


TRACKERS: dict[str, Callable[[Path, str], AbstractContextManager[Log]]] = {
    "tensorboard": _tensorboard,
    "trackio": _trackio,
}

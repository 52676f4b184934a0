"""Metrics in a tracker's own files: read back by that tracker, written on this machine alone."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medley.errors import MissingDependencyError, ProblemsError
from medley.jobs import JobSpec
from medley.jobs.tracking import numbers_of, tracked

EVENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("progress", {"step": 1, "total": 2}),
    ("metric", {"step": 1, "loss": 2.5, "rewards/margins": 0.5}),
    ("metric", {"step": 2, "loss": 1.25}),
)


def test_only_numbers_are_curves() -> None:
    fields = {"step": 3, "loss": 1, "epoch": 0.5, "is_last": True, "note": "x", "eval_loss": None}
    assert numbers_of(fields) == {"loss": 1.0, "epoch": 0.5}


def test_without_a_tracker_nothing_is_written(tmp_path: Path) -> None:
    told: list[str] = []
    with tracked(lambda kind, **fields: told.append(kind), "none", tmp_path, "run") as emit:
        emit("metric", step=1, loss=1.0)
    assert (told, list(tmp_path.iterdir())) == (["metric"], [])


def test_tensorboard_reads_what_was_told(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told: list[tuple[str, dict[str, Any]]] = []
    with tracked(
        lambda kind, **fields: told.append((kind, fields)), "tensorboard", tmp_path / "tracking", "train-1"
    ) as emit:
        for kind, fields in EVENTS:
            emit(kind, **fields)
    folder = tmp_path / "tracking"
    assert told == [("artifact", {"path": str(folder), "name": "tensorboard files"}), *EVENTS]
    read = EventAccumulator(str(folder / "train-1"))
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == ["loss", "rewards/margins"]
    assert [(point.step, point.value) for point in read.Scalars("loss")] == [(1, 2.5), (2, 1.25)]
    assert [(point.step, point.value) for point in read.Scalars("rewards/margins")] == [(1, 0.5)]


TRACKIO = """
import os, socket, sys
from pathlib import Path

def refuse(*args, **kwargs):
    raise AssertionError("the network was asked")

socket.socket.connect = refuse
os.environ["TRACKIO_SPACE_ID"] = "somebody/their-space"
from medley.jobs.tracking import tracked

folder = Path(sys.argv[1])
with tracked(lambda kind, **fields: None, "trackio", folder / "tracking", "train-1") as emit:
    emit("metric", step=1, loss=2.5)
    emit("metric", step=2, loss=1.25)
from trackio.sqlite_storage import SQLiteStorage

print([(row["step"], row["loss"]) for row in SQLiteStorage.get_logs("medley", "train-1")])
print(sorted(path.name for path in (folder / "tracking").glob("*.db")))
"""


def test_trackio_reads_what_was_told_and_asks_no_network(tmp_path: Path) -> None:
    if importlib.util.find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    ran = subprocess.run([sys.executable, "-c", TRACKIO, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert {"[(1, 2.5), (2, 1.25)]", "['medley.db']"} <= set(ran.stdout.splitlines())


def test_a_missing_package_is_told_before_the_job_is_queued(
    a_training: Callable[..., JobSpec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trackio" else find_spec(name))
    says = (
        "log_to=trackio needs the package trackio, which is not installed. Install it with: pip install 'medley[track]'"
    )
    with pytest.raises(ProblemsError) as caught:
        a_training("counter", log_to="trackio")
    assert str(caught.value) == says
    with pytest.raises(MissingDependencyError) as again, tracked(print, "trackio", tmp_path, "run"):
        pass
    assert str(again.value) == says

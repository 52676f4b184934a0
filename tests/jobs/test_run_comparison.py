"""Two runs beside each other: only what differs, curves on one axis of steps."""

from collections.abc import Callable
from typing import Any

import pytest

from hub import Registry, Version
from medley.errors import IncompatibleError
from medley.events import EventLog
from medley.jobs import Job, Jobs, JobSpec, compare_runs, train_spec
from medley.jobs.run_comparison import curves_of, differences
from tests.jobs.conftest import TRAINING


def metric(step: int, **values: Any) -> dict[str, Any]:
    return {"time": 1.0, "kind": "metric", "step": step, **values}


def ended(jobs: Jobs, spec: JobSpec) -> Job:
    """A job that was stopped before it began."""
    job = jobs.store.add(spec, resumed_from=None)
    assert jobs.store.finish(job, "stopped")
    return job


def test_curves_are_numbers_by_step_and_a_repeated_step_counts_once() -> None:
    events = [
        {"time": 1.0, "kind": "progress", "step": 1, "total": 4},
        metric(2, loss=3.0),
        metric(1, loss=4.0, epoch=0.5),
        metric(2, loss=2.5, eval_loss=None),
    ]
    assert curves_of(events) == {"loss": ((1, 4.0), (2, 2.5)), "epoch": ((1, 0.5),)}


def test_only_what_differs_is_told(registry: Registry, base: Version, sums: Version) -> None:
    def spec(name: str, data: str = "sums", **options: object) -> JobSpec:
        return train_spec(registry, "sft", base="tiny", data=data, name=name, options={**TRAINING, **options})

    assert differences(spec("one"), spec("one")) == {}
    found = differences(spec("one", rank=2), spec("two", data="sums:v1", rank=8, quant="4bit"))
    assert found == {"name": ("one", "two"), "rank": (2, 8), "quant": ("none", "4bit")}


def test_two_jobs(jobs: Jobs, a_training: Callable[..., JobSpec]) -> None:
    first, second = (ended(jobs, a_training("counter", rank=rank)) for rank in (2, 4))
    for job, losses in ((first, (3.0, 2.0)), (second, (2.5,))):
        log = EventLog(job.events_path)
        for step, loss in enumerate(losses, start=1):
            log.emit("metric", step=step, loss=loss)
    EventLog(second.events_path).emit("metric", step=1, eval_loss=9.0)
    found = compare_runs(jobs, first.id, second.id)
    assert found.runs == (first.id, second.id)
    assert found.differences == {"rank": (2, 4)}
    assert found.curves == {"loss": (((1, 3.0), (2, 2.0)), ((1, 2.5),)), "eval_loss": ((), ((1, 9.0),))}
    assert found.finals == {"loss": (2.0, 2.5), "eval_loss": (None, 9.0)}


def test_an_import_is_no_training(
    jobs: Jobs, a_training: Callable[..., JobSpec], an_import: Callable[..., JobSpec]
) -> None:
    training, importing = ended(jobs, a_training("counter")), ended(jobs, an_import("more"))
    with pytest.raises(IncompatibleError) as caught:
        compare_runs(jobs, training.id, importing.id)
    assert str(caught.value) == (f"Job '{importing.id}' is a job of kind import. Only trainings can be compared.")

"""Two trainings beside each other: what differs in what they were asked to do, their curves, and where they ended."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medley.errors import IncompatibleError
from medley.jobs.spec import JobSpec

if TYPE_CHECKING:
    from medley.jobs.desk import Jobs

Curve = tuple[tuple[int, float], ...]  # (step, value), in the order they were measured
NO_METRICS = ("kind", "time", "step")
INPUTS = ("base", "data", "init")


@dataclass(frozen=True)
class RunComparison:
    """Two runs, always in the order they were asked for.

    Attributes:
        runs: the jobs' ids.
        differences: setting -> its value in both; only what differs; None where a run has no such setting.
        curves: metric -> both curves on one axis of steps; () where a run never measured it.
        finals: metric -> its last value in both, None where it was never measured.
    """

    runs: tuple[str, str]
    differences: Mapping[str, tuple[Any, Any]]
    curves: Mapping[str, tuple[Curve, Curve]]
    finals: Mapping[str, tuple[float | None, float | None]]


def compare_runs(jobs: "Jobs", first: str, second: str) -> RunComparison:
    """Compare two training jobs.

    Raises:
        NotFoundError: there is no such job.
        IncompatibleError: one of them is no training.
    """
    specs, curves = [], []
    for job_id in (first, second):
        job = jobs.get(job_id)
        if job.kind != "train":
            raise IncompatibleError(f"Job '{job.id}' is a job of kind {job.kind}. Only trainings can be compared.")
        specs.append(jobs.spec(job_id))
        curves.append(curves_of(jobs.events(job_id)[0]))
    both = {
        name: (curves[0].get(name, ()), curves[1].get(name, ())) for name in dict.fromkeys([*curves[0], *curves[1]])
    }
    return RunComparison(
        runs=(first, second),
        differences=differences(*specs),
        curves=both,
        finals={name: (_last(one), _last(other)) for name, (one, other) in both.items()},
    )


def curves_of(events: Iterable[Mapping[str, Any]]) -> dict[str, Curve]:
    """Metric -> its curve, from the events of a job; a step that was measured again after a resume counts once."""
    points: dict[str, dict[int, float]] = {}
    for event in events:
        if event["kind"] == "metric":
            for name, value in event.items():
                if name not in NO_METRICS and isinstance(value, (int, float)):
                    points.setdefault(name, {})[event["step"]] = value
    return {name: tuple(sorted(curve.items())) for name, curve in points.items()}


def differences(first: JobSpec, second: JobSpec) -> dict[str, tuple[Any, Any]]:
    """Setting -> (value in the first, value in the second) for every setting in which two trainings differ."""
    one, other = _settings(first), _settings(second)
    names = dict.fromkeys([*one, *other])
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


def _settings(spec: JobSpec) -> dict[str, Any]:
    """Inputs by their content, so that two names of one thing are no difference, shown by their labels."""
    params = spec.params
    labels = params.get("labels") or {}
    inputs = {name: _shown(params.get(name), labels.get(name)) for name in INPUTS}
    return {"name": spec.output_name, "trainer": params["trainer"], **inputs, **params["options"]}


def _shown(version_id: str | None, label: str | None) -> str | None:
    return f"{label} (sha256:{version_id[:8]})" if version_id and label else version_id


def _last(curve: Curve) -> float | None:
    return curve[-1][1] if curve else None

"""Two runs beside each other: what differs in what they were asked to do, and what they measured last."""

from collections.abc import Mapping
from typing import Any

from medley.jobs import Job, JobSpec
from medley.jobs.run_comparison import differences
from medley.ui import markup, run_charts
from medley.ui.controls import label_of
from medley.ui.numbers import number_text
from medley.ui.run_view import RunView
from medley.ui.workspace import Workspace

NO_OTHER = ""
SAME = "Nothing: both were asked to do the same."
INPUTS = {"base": "Base", "data": "Dataset", "init": "Start or reference"}


def other_choices(workspace: Workspace, job_id: str) -> list[tuple[str, str]]:
    """The runs that can be laid over this one, the newest first; none over what is no training of one adapter."""
    if workspace.jobs.get(job_id).kind != "train":
        return [("none", NO_OTHER)]
    listed = [job for job in workspace.jobs.list(limit=100) if job.kind == "train" and job.id != job_id]
    return [("none", NO_OTHER), *((f"{job.title} · {job.id}", job.id) for job in listed)]


def comparison_card(workspace: Workspace, job: Job, view: RunView, other: str) -> str:
    """The two runs' last measurements and the settings in which they differ."""
    beside, seen = workspace.jobs.get(other), workspace.runs.read(workspace.jobs, other)
    rows = differing_settings(workspace.jobs.spec(job.id), workspace.jobs.spec(beside.id))
    heads = ["", f"{job.id}, solid", f"{beside.id}, dashed"]
    link = markup.link("train", "Open the other run", {"job": beside.id})
    return (
        markup.heading("Side by side")
        + markup.table(heads, [_cells(row) for row in _numbers(view, seen)])
        + '<h3 class="m-sub">What differs in their settings</h3>'
        + (markup.table(heads, [_cells(row) for row in rows]) if rows else f'<p class="m-quiet">{SAME}</p>')
        + f'<div class="m-side m-next">{link}</div>'
    )


def _cells(row: tuple[str, str, str]) -> list[str]:
    name, ours, theirs = (markup.escape(part) for part in row)
    return [f'<span class="m-quiet">{name}</span>', ours, theirs]


def _numbers(view: RunView, beside: RunView) -> list[tuple[str, str, str]]:
    ours, theirs = dict(run_charts.headline(view)), dict(run_charts.headline(beside))
    steps = ("Step", str(view.step), str(beside.step))
    names = dict.fromkeys([*ours, *theirs])
    return [steps, *((name, number_text(ours.get(name)), number_text(theirs.get(name))) for name in names)]


def differing_settings(ours: JobSpec, theirs: JobSpec) -> list[tuple[str, str, str]]:
    """(setting, ours, theirs) for each setting in which two trainings differ; a dash where one has no such setting."""
    labels = {**(ours.params.get("labels") or {}), **(theirs.params.get("labels") or {})}
    return [
        (INPUTS.get(name) or label_of(name), _text(one, labels), _text(other, labels))
        for name, (one, other) in differences(ours, theirs).items()
    ]


def _text(value: Any, labels: Mapping[str, str]) -> str:
    """A setting in words; contents that the options name are shown by their labels."""
    if isinstance(value, list):
        return ", ".join(_text(part, labels) for part in value) or "none"
    if isinstance(value, str):
        for identity, label in labels.items():
            value = value.replace(identity, label) if identity.startswith("sha256:") else value
        return value
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

"""Jobs as rows: title, state, progress with time left, curve, and a button that stops them."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medley.ui import charts, markup
from medley.ui.numbers import duration_text, number_text
from medley.ui.run_view import RunView
from medley.ui.workspace import Workspace

if TYPE_CHECKING:
    from medley.jobs import Job

PAGE_OF = {
    "train": "train",
    "merge": "merge",
    "extract": "merge",
    "convert": "merge",
    "fold": "merge",
    "learn-weights": "merge",
    "import": "data",
    "mix": "data",
    "compare-types": "train",
}
STOPPABLE = ("queued", "running")
LEADING = {"objective/scores": "reward", "reward": "reward", "loss": "loss"}  # the curve that stands for a run


def job_rows(workspace: Workspace, listed: Sequence["Job"], *, can_stop: bool = True) -> str:
    """A row for each job, as HTML."""
    can_stop = can_stop and not workspace.is_read_only
    return "".join(job_row(job, workspace.runs.read(workspace.jobs, job.id), can_stop=can_stop) for job in listed)


def job_row(job: "Job", view: RunView, *, can_stop: bool) -> str:
    """One job: title, state, progress, curve and stop button."""
    title = markup.link(PAGE_OF.get(job.kind, ""), job.title, {"job": job.id})
    since = (
        f"{markup.when(job.finished or job.started or job.created)} · <span class=m-mono>{markup.escape(job.id)}</span>"
    )
    stop = markup.action("Stop", "job", job.id) if job.state in STOPPABLE and can_stop else "<span></span>"
    name = next((name for name in LEADING if view.curve(name)), "loss")
    curve = [value for _, value in view.curve(name)]
    return (
        f'<div class="m-job"><div>{title}<small>{since}</small></div><div>{markup.chip(job.state)}</div>'
        f"<div>{progress(job, view)}</div><div>{charts.sparkline(curve, LEADING[name])}</div>{stop}</div>"
    )


def progress(job: "Job", view: RunView) -> str:
    """The bar with a line under it; for a finished job what came of it."""
    if job.is_finished:
        return f"<small>{_outcome(job, view)}</small>"
    if job.state == "queued":
        return "<small>waiting for its turn</small>"
    bar = markup.progress_bar(view.share, job.title)
    return f"{bar}<small>{markup.escape(progress_text(job, view))}</small>"


def progress_text(job: "Job", view: RunView) -> str:
    """What it does, how far it is and how long it will take: "Training · 12 of 60 · 2 min left"."""
    parts = [view.text or "Starting"]
    if view.total:
        parts.append(f"{view.step} of {view.total}")
    if view.seconds_left is not None and job.state == "running":
        parts.append(f"{duration_text(view.seconds_left)} left")
    if job.state == "stopping":
        parts.append("stopping after this step")
    return " · ".join(parts)


def _outcome(job: "Job", view: RunView) -> str:
    if job.error and job.state != "done":
        return markup.escape(job.error.splitlines()[0][:200])
    took = f"in {duration_text(took_seconds(job))}" if job.started else ""
    last = next((name for name in ("objective/scores", "reward", "eval_loss", "loss") if name in view.latest), None)
    measured = f"{LEADING.get(last, 'loss')} {number_text(view.latest[last])}" if last else ""
    made = markup.link("registry", job.output_name, {"name": job.output_name}) if job.result else ""
    return " · ".join(part for part in (made, measured, took) if part)


def took_seconds(job: "Job") -> float:
    """Seconds from its start to its end, or until now."""
    return (job.finished or time.time()) - job.started if job.started else 0.0

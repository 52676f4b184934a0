"""What a run's page is made of, as HTML: head, samples, checkpoints, log, settings, and the card with its state."""

from itertools import groupby
from typing import Any

from medley.jobs import Job
from medley.ui import markup, run_charts, run_results
from medley.ui.job_rows import progress_text, took_seconds
from medley.ui.numbers import duration_text, number_text
from medley.ui.run_view import RunView
from medley.ui.workspace import Workspace, attempt

SAMPLES_SHOWN = 24
LOG_LINES = 80
MEASURED_SHOWN = 6
NOT_A_SCORE = ("time", "step", "number")
STATE_WORDS = {"queued": "Queued", "running": "Running", "stopping": "Stopping", "done": "Done", "failed": "Failed",
               "stopped": "Stopped", "lost": "Lost"}  # fmt: skip


def run_head(job: Job) -> str:
    """The heading of a run: what it is, its state and id."""
    side = f"{markup.chip(job.state)}<span class='m-mono'>{markup.escape(job.id)}</span>"
    text = "The run goes on when you close this tab; this address always leads back to it."
    return markup.page_head(job.title, text, side + markup.button_link("train", "All runs"))


def samples_card(view: RunView) -> str:
    """What the model answered, step by step, the newest first; with scores where they were measured."""
    if not view.samples:
        return markup.empty("No samples yet", "At each measurement the model answers a few prompts, to see it learn.")
    newest = sorted(view.samples[-SAMPLES_SHOWN:], key=_step, reverse=True)
    steps = ""
    for step, samples in groupby(newest, key=_step):
        turns = "".join(_sample(each) for each in samples)
        steps += f'<h3 class="m-sub">Step {markup.escape(number_text(step))}</h3>{turns}'
    return steps


def _step(sample: dict[str, Any]) -> float:
    step = sample.get("step")
    return float(step) if isinstance(step, (int, float)) else -1.0


def _sample(sample: dict[str, Any]) -> str:
    scores = "".join(
        markup.chip(f"{name.replace('_', ' ')} {number_text(float(value))}")
        for name, value in sample.items()
        if name not in NOT_A_SCORE and isinstance(value, (int, float)) and not isinstance(value, bool)
    )
    side = f'<span class="m-scores">{scores}</span>' if scores else ""
    text = markup.escape(str(sample.get("text", "")).strip()) or '<i class="m-quiet">an empty answer</i>'
    prompt = markup.escape(sample.get("prompt", ""))
    return f'<div class="m-turn m-sample"><b>{prompt}{side}</b><p>{text}</p></div>'


def checkpoints_table(job: Job, view: RunView) -> str:
    """Every checkpoint of the run, what was measured there, and whether it is still on disk."""
    if not view.checkpoints:
        return markup.empty("No checkpoints yet", "From a checkpoint a stopped or lost run can go on.")
    measured = dict(view.curve("eval_loss"))
    rows = []
    for step, saved in reversed(view.checkpoints[-SAMPLES_SHOWN:]):
        is_there = (job.out_dir / "checkpoints" / f"checkpoint-{step}").is_dir()
        chip = markup.chip("kept", "good") if is_there else markup.chip("removed", "plain", "To save disk space")
        rows.append([f"step {step}", markup.when(saved), number_text(measured.get(float(step))), chip])
    return markup.table(["Checkpoint", "Saved", "Eval loss", "On disk"], rows, numeric=(2,))


def log_text(workspace: Workspace, job: Job) -> str:
    """The last lines that the worker printed."""
    lines = workspace.jobs.log_tail(job.id, LOG_LINES)
    return markup.code_block(lines or "Nothing printed yet.", wrap=True)


def settings_text(workspace: Workspace, job: Job) -> str:
    """The spec: everything that the run was asked to do."""
    return markup.code_block(workspace.jobs.spec(job.id).to_yaml())


def status_card(workspace: Workspace, job: Job, view: RunView) -> str:
    """How far it is, what it measured last, what went wrong, and what to do next."""
    body = ""
    if job.state == "queued":
        place = attempt(lambda: workspace.jobs.queue_position(job))[0]
        body = markup.notice("plain", f"Waiting for its turn, number {place} in the queue." if place else "Starting.")
    elif not job.is_finished:
        line = f"<p class='m-quiet m-gap'>{markup.escape(progress_text(job, view))}</p>"
        body = markup.progress_bar(view.share, job.title) + line
    if job.error:
        body += markup.notice("bad" if job.state == "failed" else "warn", job.error)
    body += run_results.outcome(workspace, job)
    body += "".join(markup.notice("warn", text) for text in view.warnings[-3:])
    steps = run_results.next_steps(workspace, job)
    return markup.heading(STATE_WORDS[job.state]) + body + markup.facts(_measured(job, view)) + steps


def _measured(job: Job, view: RunView) -> list[tuple[str, str]]:
    pairs = []
    if view.total:
        pairs.append(("Step", f"{view.step} of {view.total}"))
    pairs += [(name, number_text(value)) for name, value in run_charts.headline(view, MEASURED_SHOWN)]
    if view.checkpoints:
        pairs.append(("Checkpoint", f"step {view.checkpoints[-1][0]}"))
    if job.started:
        pairs.append(("Time", duration_text(took_seconds(job))))
    if job.resumed_from:
        pairs.append(("Goes on from", markup.link("train", job.resumed_from, {"job": job.resumed_from})))
    return pairs

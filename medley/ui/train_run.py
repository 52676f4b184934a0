"""One run on the Train page: curves, samples, log, settings, and what can be done with it. Polled from files and rows.

Everything shown comes from the job's row and events: a reloaded tab, a second tab and a restarted app show the same.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from medley.jobs import Job
from medley.ui import charts, markup
from medley.ui.address import go_when_set
from medley.ui.job_rows import STOPPABLE, progress_text, took_seconds
from medley.ui.numbers import duration_text, number_text
from medley.ui.run_view import CURVES, RunView
from medley.ui.workspace import Workspace, attempt, shown

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
POLL_S = 1.0
SAMPLES_SHOWN = 8
NO_OTHER = "none"


@dataclass(frozen=True)
class RunPanel:
    """The components of the run view, in the order in which `show` fills them."""

    job_id: gr.Textbox
    state: gr.State
    head: gr.HTML
    curve: gr.HTML
    samples: gr.HTML
    log: gr.HTML
    status: gr.HTML
    settings: gr.HTML
    stop: gr.Button
    retry: gr.Button
    timer: gr.Timer

    @property
    def outputs(self) -> list[Any]:
        return [self.job_id, self.state, self.head, self.curve, self.samples, self.log, self.status, self.settings,
                self.stop, self.retry, self.timer]  # fmt: skip


def build(workspace: Workspace) -> RunPanel:
    job_id = gr.Textbox(visible=False)
    state = gr.State(None, time_to_live=3600)
    target = gr.Textbox(visible=False)
    head = gr.HTML(elem_id="run-head")
    with gr.Row(elem_classes="m-columns"):
        with gr.Column(scale=2):
            with gr.Column(elem_classes="m-panel"):
                curve = gr.HTML(elem_id="run-curve", min_height=290)
                other = gr.Dropdown([NO_OTHER], value=NO_OTHER, label="Lay another run over it", elem_id="run-other")
            with gr.Column(elem_classes="m-panel"), gr.Tabs():
                with gr.Tab("Samples"):
                    samples = gr.HTML(elem_id="run-samples", min_height=200)
                with gr.Tab("Log"):
                    log = gr.HTML(elem_id="run-log", min_height=200)
                with gr.Tab("Settings"):
                    settings = gr.HTML(elem_id="run-settings", min_height=200)
        with gr.Column(scale=1, elem_classes="m-first"), gr.Column(elem_classes="m-panel"):
            status = gr.HTML(elem_id="run-status", min_height=180)
            with gr.Row(elem_classes="m-actions"):
                stop = gr.Button("Stop and keep the last checkpoint", size="sm", visible=False, elem_id="run-stop")
                retry = gr.Button("Go on from the last checkpoint", size="sm", visible=False, elem_id="run-retry")
            notice = gr.HTML()
    timer = gr.Timer(POLL_S, active=False)
    panel = RunPanel(job_id, state, head, curve, samples, log, status, settings, stop, retry, timer)
    timer.tick(
        partial(poll, workspace), [job_id, state, other], panel.outputs, concurrency_id="poll", concurrency_limit=8,
        **QUIET,
    )  # fmt: skip
    other.focus(partial(other_runs, workspace), job_id, other, **QUIET)
    other.input(partial(show, workspace), [job_id, state, other], panel.outputs, **QUIET)
    stop.click(partial(stop_run, workspace), job_id, [notice, stop], **QUIET)
    retried = retry.click(partial(retry_run, workspace), job_id, [target, notice], **QUIET)
    retried.then(**go_when_set(target))
    return panel


def other_runs(workspace: Workspace, job_id: str) -> Any:
    """The runs that can be laid over this one."""
    listed = [job for job in workspace.jobs.list(limit=100) if job.kind == "train" and job.id != job_id]
    return gr.Dropdown([NO_OTHER, *[(f"{job.title} · {job.id}", job.id) for job in listed]])


def poll(workspace: Workspace, job_id: str, state: dict[str, Any] | None, other: str | None) -> list[Any]:
    """What changed since the last look; nothing is sent for what did not."""
    return show(workspace, job_id, state, other) if job_id else [gr.skip()] * 11


def show(workspace: Workspace, job_id: str, state: dict[str, Any] | None, other: str | None) -> list[Any]:
    """Values for `RunPanel.outputs`. `state` is what the last call returned in second place, or None."""
    known = state if state and state["job_id"] == job_id else {"job_id": job_id, "sent": {}}
    job, notice = attempt(lambda: workspace.jobs.get(job_id))
    if job is None:
        head = markup.page_head("Train", "This run is not here.", markup.button_link("train", "All runs"))
        return [job_id, None, head, notice, "", "", "", "", _button(False), _button(False), gr.Timer(active=False)]
    view = workspace.runs.read(workspace.jobs, job_id)
    may_change = not workspace.is_read_only
    parts = {
        "head": run_head(job),
        "curve": shown(lambda: curves(workspace, view, other)),
        "samples": samples_card(view),
        "log": shown(lambda: log_text(workspace, job)),
        "status": status_card(workspace, job, view),
        "settings": shown(lambda: settings_text(workspace, job)),
    }
    fresh = [html if known["sent"].get(name) != html else gr.skip() for name, html in parts.items()]
    known["sent"] = parts
    can_stop, can_retry = job.state in STOPPABLE, job.state in ("failed", "stopped", "lost")
    return [job_id, known, *fresh, _button(can_stop and may_change), _button(can_retry and may_change),
            gr.Timer(active=not job.is_finished)]  # fmt: skip


def _button(visible: bool) -> Any:
    return gr.Button(visible=visible, interactive=True)


def run_head(job: Job) -> str:
    """The heading of a run: what it is, its state and id."""
    side = f"{markup.chip(job.state)}<span class='m-mono'>{markup.escape(job.id)}</span>"
    text = "The run goes on when you close this tab; this address always leads back to it."
    return markup.page_head(job.title, text, side + markup.button_link("train", "All runs"))


def curves(workspace: Workspace, view: RunView, other: str | None) -> str:
    """Training and eval loss by step, and those of another run in paler colours."""
    series = [
        charts.Series(legend, view.curve(name), tone)
        for (name, legend), tone in zip(CURVES.items(), ("teal", "amber"), strict=True)
    ]
    if other and other not in (NO_OTHER, view.job_id):
        beside = workspace.runs.read(workspace.jobs, other)
        series += [
            charts.Series(f"{legend}, {other}", beside.curve(name), tone)
            for (name, legend), tone in zip(CURVES.items(), ("stone", "plum"), strict=True)
        ]
    return markup.heading("Loss") + charts.line_chart(
        series, x_name="step", y_name="loss", empty_text="The first point appears after the first steps."
    )


def samples_card(view: RunView) -> str:
    """What the model answered at the last measurements, the newest first."""
    if not view.samples:
        return markup.empty("No samples yet", "At each measurement the model answers a few prompts of the eval split.")
    turns = ""
    for sample in reversed(view.samples[-SAMPLES_SHOWN:]):
        asked = f"step {sample.get('step', '?')} · {sample.get('prompt', '')}"
        text = str(sample.get("text", "")).strip()
        turns += f'<div class="m-turn m-sample"><b>{markup.escape(asked)}</b><p>{markup.escape(text)}</p></div>'
    return turns


def log_text(workspace: Workspace, job: Job) -> str:
    """Warnings first, then the last lines that the worker printed."""
    lines = "\n".join(workspace.jobs.log_tail(job.id, 80))
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
    body += "".join(markup.notice("warn", text) for text in view.warnings[-3:])
    return markup.heading(_outcome(job)) + body + markup.facts(_measured(job, view)) + _next_steps(job)


def _outcome(job: Job) -> str:
    words = {"queued": "Queued", "running": "Running", "stopping": "Stopping", "done": "Done", "failed": "Failed",
             "stopped": "Stopped", "lost": "Lost"}  # fmt: skip
    return words[job.state]


def _measured(job: Job, view: RunView) -> list[tuple[str, str]]:
    pairs = []
    if view.total:
        pairs.append(("Step", f"{view.step} of {view.total}"))
    for name, legend in CURVES.items():
        if name in view.latest:
            pairs.append((legend.capitalize(), number_text(view.latest[name])))
    if "learning_rate" in view.latest:
        pairs.append(("Learning rate", number_text(view.latest["learning_rate"])))
    if view.checkpoint is not None:
        pairs.append(("Checkpoint", f"step {view.checkpoint}"))
    if job.started:
        pairs.append(("Time", duration_text(took_seconds(job))))
    if job.resumed_from:
        pairs.append(("Goes on from", markup.link("train", job.resumed_from, {"job": job.resumed_from})))
    return pairs


def _next_steps(job: Job) -> str:
    if job.state != "done" or not job.result:
        return ""
    ways = [
        markup.button_link("compare", "Compare with its base", {"panes": f"base,{job.output_name}"}, is_primary=True),
        markup.button_link("merge", "Blend it", {"adapters": job.output_name}),
        markup.button_link("registry", "Look at it", {"name": job.output_name}),
        markup.button_link("publish", "Publish", {"name": job.output_name}),
    ]
    return f'<div class="m-side m-next">{"".join(ways)}</div>'


def stop_run(workspace: Workspace, job_id: str) -> tuple[str, Any]:
    """Ask the run to stop after its step."""

    def stop() -> str:
        workspace.check_writable("Stopping a run")
        workspace.jobs.stop(job_id)
        return markup.notice("plain", "It stops after this step and keeps a checkpoint.")

    done, problem = attempt(stop)
    return done or problem, gr.Button(interactive=done is None)


def retry_run(workspace: Workspace, job_id: str) -> tuple[str, str]:
    """A new run that goes on from the last checkpoint: its address, or what stands against it."""

    def retry() -> str:
        workspace.check_writable("Training")
        return workspace.retry(job_id).id

    again, problem = attempt(retry)
    return (markup.address("train", {"job": again}), "") if again else ("", problem)

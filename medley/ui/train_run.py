"""One run on the Train page: curves, samples, log, settings, and what can be done with it. Polled from files and rows.

Everything shown comes from the job's row and events: a reloaded tab, a second tab and a restarted app show the same.
`?with=` lays another run over it. The pieces themselves are in run_parts.py, run_charts.py and run_beside.py.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from medley.ui import markup, run_beside, run_charts, run_parts
from medley.ui.address import go_when_set, put_query
from medley.ui.job_rows import STOPPABLE
from medley.ui.run_beside import NO_OTHER
from medley.ui.workspace import Workspace, attempt, shown

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
POLL_S = 1.0
PARTS = ("head", "curves", "more", "beside", "samples", "checkpoints", "log", "settings", "status")


@dataclass(frozen=True)
class RunPanel:
    """The components of the run view, in the order in which `show` fills them; `parts` by the names in PARTS."""

    job_id: gr.Textbox
    state: gr.State
    other: gr.Dropdown
    parts: dict[str, gr.HTML]
    compared: gr.Column
    stop: gr.Button
    retry: gr.Button
    timer: gr.Timer

    @property
    def outputs(self) -> list[Any]:
        """What is looked at anew every second."""
        parts = [self.parts[name] for name in PARTS]
        return [self.job_id, self.state, *parts, self.compared, self.stop, self.retry, self.timer]

    @property
    def loaded(self) -> list[Any]:
        """What the page's load fills."""
        return [self.other, *self.outputs]


def build(workspace: Workspace) -> RunPanel:
    job_id = gr.Textbox(visible=False)
    state = gr.State(None, time_to_live=3600)
    target = gr.Textbox(visible=False)
    parts = {"head": gr.HTML(elem_id="run-head")}
    with gr.Row(elem_classes="m-columns"):
        with gr.Column(scale=2):
            with gr.Column(elem_classes="m-panel"):
                parts["curves"] = gr.HTML(elem_id="run-curve", min_height=330)
                with gr.Accordion("More curves", open=False):
                    parts["more"] = gr.HTML(elem_id="run-more", min_height=60)
                other = gr.Dropdown(
                    [("none", NO_OTHER)], value=NO_OTHER, label="Lay another run over it", elem_id="run-other",
                    info="Its curves are drawn dashed, and what differs is listed.",
                )  # fmt: skip
            with gr.Column(elem_classes="m-panel", visible=False) as compared:
                parts["beside"] = gr.HTML(elem_id="run-beside", min_height=120)
            _build_tabs(parts)
        with gr.Column(scale=1, elem_classes="m-first"), gr.Column(elem_classes="m-panel"):
            parts["status"] = gr.HTML(elem_id="run-status", min_height=180)
            with gr.Row(elem_classes="m-actions"):
                stop = gr.Button("Stop and keep the last checkpoint", size="sm", visible=False, elem_id="run-stop")
                retry = gr.Button("Go on from the last checkpoint", size="sm", visible=False, elem_id="run-retry")
            notice = gr.HTML()
    timer = gr.Timer(POLL_S, active=False)
    panel = RunPanel(job_id, state, other, parts, compared, stop, retry, timer)
    timer.tick(
        partial(poll, workspace), [job_id, state, other], panel.outputs, concurrency_id="poll", concurrency_limit=8,
        **QUIET,
    )  # fmt: skip
    laid = other.input(partial(show, workspace), [job_id, state, other], panel.outputs, **QUIET)
    laid.then(None, [job_id, other], None, js=put_query(["job", "with"]), api_visibility="private")
    stop.click(partial(stop_run, workspace), job_id, [notice, stop], **QUIET)
    retried = retry.click(partial(retry_run, workspace), job_id, [target, notice], **QUIET)
    retried.then(**go_when_set(target))
    return panel


def _build_tabs(parts: dict[str, gr.HTML]) -> None:
    with gr.Column(elem_classes="m-panel"), gr.Tabs():
        for title in ("Samples", "Checkpoints", "Log", "Settings"):
            with gr.Tab(title):
                parts[title.lower()] = gr.HTML(elem_id=f"run-{title.lower()}", min_height=200)


def open_run(workspace: Workspace, job_id: str, beside: str | None) -> list[Any]:
    """Values for `RunPanel.loaded`: the run, with another one over it if the address names one."""
    choices = attempt(lambda: run_beside.other_choices(workspace, job_id))[0] or [("none", NO_OTHER)]
    other = beside if beside in [value for _, value in choices] else NO_OTHER
    return [gr.Dropdown(choices, value=other), *show(workspace, job_id, None, other)]


def poll(workspace: Workspace, job_id: str, state: dict[str, Any] | None, other: str | None) -> list[Any]:
    """What changed since the last look; nothing is sent for what did not."""
    return show(workspace, job_id, state, other) if job_id else [gr.skip()] * (len(PARTS) + 6)


def show(workspace: Workspace, job_id: str, state: dict[str, Any] | None, other: str | None) -> list[Any]:
    """Values for `RunPanel.outputs`. `state` is what the last call returned in second place, or None."""
    known = state if state and state["job_id"] == job_id else {"job_id": job_id, "sent": {}}
    job, notice = attempt(lambda: workspace.jobs.get(job_id))
    if job is None:
        head = markup.page_head("Train", "This run is not here.", markup.button_link("train", "All runs"))
        blank = {**dict.fromkeys(PARTS, ""), "head": head, "curves": notice}
        return [job_id, None, *blank.values(), gr.Column(visible=False), _button(False), _button(False),
                gr.Timer(active=False)]  # fmt: skip
    view = workspace.runs.read(workspace.jobs, job_id)
    is_compared = bool(other) and other != job_id
    beside = attempt(lambda: workspace.runs.read(workspace.jobs, str(other)))[0] if is_compared else None
    may_change = not workspace.is_read_only
    parts = {
        "head": run_parts.run_head(job),
        "curves": shown(lambda: run_charts.main_charts(view, beside)),
        "more": shown(lambda: run_charts.more_charts(view, beside)),
        "beside": shown(lambda: run_beside.comparison_card(workspace, job, view, str(other))) if is_compared else "",
        "samples": run_parts.samples_card(view),
        "checkpoints": run_parts.checkpoints_table(job, view),
        "log": shown(lambda: run_parts.log_text(workspace, job)),
        "settings": shown(lambda: run_parts.settings_text(workspace, job)),
        "status": shown(lambda: run_parts.status_card(workspace, job, view)),
    }
    fresh = [parts[name] if known["sent"].get(name) != parts[name] else gr.skip() for name in PARTS]
    known["sent"] = parts
    can_stop, can_retry = job.state in STOPPABLE, job.state in ("failed", "stopped", "lost")
    return [job_id, known, *fresh, gr.Column(visible=is_compared), _button(can_stop and may_change),
            _button(can_retry and may_change), gr.Timer(active=not job.is_finished)]  # fmt: skip


def _button(visible: bool) -> Any:
    return gr.Button(visible=visible, interactive=True)


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

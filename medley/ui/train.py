"""Train: the form of a new run (train_setup.py), the runs so far, a comparison of adapter types (types_form.py).

`?job=` shows a run (train_run.py).
"""

from typing import Any

import gradio as gr

from medley.ui import markup, train_run, train_setup, types_form
from medley.ui.job_rows import job_rows
from medley.ui.workspace import Workspace, query_value, shown

INTRO = "Teach a base model with a small adapter. The run goes on when you close this tab."
RUNS_SHOWN = 12
RUN_KINDS = ("train", "compare-types")
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def build(page: gr.Blocks, workspace: Workspace) -> None:
    head = gr.HTML(markup.page_head("Train", INTRO), elem_id="train-head")
    with gr.Column(visible=False) as configure:
        if workspace.is_read_only:
            gr.HTML(markup.notice("plain", "Training is switched off here. Below are the runs of this registry."))
        form = None if workspace.is_read_only else train_setup.build(workspace)
        runs = gr.HTML(elem_id="train-runs", min_height=120)
        types_data = types_form.build(workspace, form.base) if form else None
    with gr.Column(visible=False) as run:
        view = train_run.build(workspace)
    filled = [*form.loaded, types_data] if form else []

    def load(request: gr.Request) -> list[Any]:
        job_id, beside = query_value(request, "job"), query_value(request, "with") or None
        if job_id:
            return ["", gr.Column(visible=False), gr.Column(visible=True), gr.skip(), *[gr.skip()] * len(filled),
                    *train_run.open_run(workspace, job_id, beside)]  # fmt: skip
        values = [*train_setup.load(workspace, request), types_form.choices(workspace)] if form else []
        return [markup.page_head("Train", INTRO), gr.Column(visible=True), gr.Column(visible=False),
                shown(lambda: runs_card(workspace)), *values, *[gr.skip()] * len(view.loaded)]  # fmt: skip

    page.load(load, None, [head, configure, run, runs, *filled, *view.loaded], **QUIET)


def runs_card(workspace: Workspace) -> str:
    """The training runs, the newest first."""
    listed = [job for job in workspace.jobs.list(limit=200) if job.kind in RUN_KINDS][:RUNS_SHOWN]
    if not listed:
        return ""
    return markup.section("Runs", job_rows(workspace, listed, can_stop=False))

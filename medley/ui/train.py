"""Train: what to teach whom, the few settings that matter, what it will cost; `?job=` shows a run (train_run.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from medley.ui import markup, train_form, train_run
from medley.ui.address import go_when_set
from medley.ui.controls import control
from medley.ui.job_rows import job_rows
from medley.ui.train_form import GOALS, START, fields_of
from medley.ui.workspace import Workspace, query_value, shown
from trainers import PRESETS

INTRO = "Teach a base model with a small adapter. The run goes on when you close this tab."
RUNS_SHOWN = 12
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Form:
    """The controls that say what is trained, in the order in which handlers take them."""

    base: gr.Dropdown
    data: gr.Dropdown
    name: gr.Textbox
    start: gr.Dropdown
    options: Sequence[gr.components.Component]

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self.base, self.data, self.name, self.start, *self.options]


def build(page: gr.Blocks, workspace: Workspace) -> None:
    head = gr.HTML(markup.page_head("Train", INTRO), elem_id="train-head")
    with gr.Column(visible=False) as configure:
        if workspace.is_read_only:
            gr.HTML(markup.notice("plain", "Training is switched off here. Below are the runs of this registry."))
        else:
            form, preset, start, notice, plan = _build_form()
        runs = gr.HTML(elem_id="train-runs", min_height=120)
    with gr.Column(visible=False) as run:
        view = train_run.build(workspace)
    target = gr.Textbox(visible=False)
    if not workspace.is_read_only:
        _listen(workspace, form, preset, start, notice, plan, target)

    def load(request: gr.Request) -> list[Any]:
        job_id = query_value(request, "job")
        if job_id:
            rest = [gr.skip()] * (0 if workspace.is_read_only else 5)
            return ["", gr.Column(visible=False), gr.Column(visible=True), gr.skip(), *rest,
                    *train_run.show(workspace, job_id, None, None)]  # fmt: skip
        values = [] if workspace.is_read_only else _form_values(workspace, request)
        return [markup.page_head("Train", INTRO), gr.Column(visible=True), gr.Column(visible=False),
                shown(lambda: runs_card(workspace)), *values, *[gr.skip()] * len(view.outputs)]  # fmt: skip

    choices = [] if workspace.is_read_only else [form.base, form.data, form.start, form.name, plan]
    outputs = [head, configure, run, runs, *choices, *view.outputs]
    page.load(load, None, outputs, **QUIET)


def _build_form() -> tuple[Form, gr.Radio, gr.Button, gr.HTML, gr.HTML]:
    options = fields_of("sft")
    with gr.Row(elem_classes="m-columns"):
        with gr.Column(scale=2):
            with gr.Column(elem_classes="m-panel"):
                gr.HTML(markup.heading(f"1. {GOALS['sft']}"))
                with gr.Row():
                    base = gr.Dropdown([], label="Base model", info="The model that stays as it is.", min_width=220)
                    data = gr.Dropdown([], label="Dataset", info="The examples it learns from.", min_width=220)
                with gr.Row():
                    name = gr.Textbox(label="Name of the adapter", info="Small letters, digits, dots and dashes.",
                                      placeholder="pirate", max_lines=1, min_width=220)  # fmt: skip
                    init = gr.Dropdown(
                        [], label="Start from", info="Nothing, or an adapter to train on.", min_width=220
                    )
            with gr.Column(elem_classes="m-panel"):
                gr.HTML(markup.heading("2. How", "A preset fills the fields; every field can be changed."))
                preset = gr.Radio([(name.capitalize(), name) for name in PRESETS], label="Preset", value="balanced")
                with gr.Row(elem_classes="m-fields"):
                    plain = [control(each, min_width=180) for each in options if not each.is_advanced]
                with gr.Accordion("More settings", open=False), gr.Row(elem_classes="m-fields"):
                    folded = [control(each, min_width=180) for each in options if each.is_advanced]
                start = gr.Button("Start training", variant="primary", elem_id="start-training")
                notice = gr.HTML(elem_id="train-notice")
        with gr.Column(scale=1):
            plan = gr.HTML(elem_id="train-plan", min_height=420)
    return Form(base, data, name, init, [*plain, *folded]), preset, start, notice, plan


def _listen(
    workspace: Workspace, form: Form, preset: gr.Radio, start: gr.Button, notice: gr.HTML, plan: gr.HTML,
    target: gr.Textbox,
) -> None:  # fmt: skip
    look = {"fn": partial(train_form.plan_card, workspace, "sft"), "inputs": form.inputs, "outputs": plan, **QUIET}
    gr.on([each.input for each in form.inputs], **look, trigger_mode="always_last")
    filled = preset.input(partial(train_form.preset_values, "sft"), preset, list(form.options), **QUIET)
    filled.then(**look)
    begun = start.click(
        partial(train_form.start, workspace, "sft"), form.inputs, [target, notice], concurrency_limit=4,
        api_visibility="private",
    )  # fmt: skip
    begun.then(**go_when_set(target))


def _form_values(workspace: Workspace, request: gr.Request) -> list[Any]:
    """Choices for base, dataset and start; the dataset and base that the address names are chosen."""
    bases = train_form.base_choices(workspace)
    data = _with(query_value(request, "data"), workspace.names("dataset", data_kinds=("sft",)))
    adapters = workspace.names("adapter")
    base = query_value(request, "base") or (bases[0] if bases else None)
    start = query_value(request, "from") or START
    chosen = query_value(request, "data") or (data[0] if data else None)
    values = [base, chosen, "", start, *train_form.preset_values("sft", "balanced")]
    return [
        gr.Dropdown(_with(base, bases), value=base),
        gr.Dropdown(data, value=chosen),
        gr.Dropdown(_with(start, [START, *adapters]), value=start),
        query_value(request, "name") or gr.skip(),
        train_form.plan_card(workspace, "sft", *values),
    ]


def _with(wanted: str | None, choices: list[str]) -> list[str]:
    return choices if not wanted or wanted in choices else [wanted, *choices]


def runs_card(workspace: Workspace) -> str:
    """The training runs, the newest first."""
    listed = [job for job in workspace.jobs.list(limit=200) if job.kind == "train"][:RUNS_SHOWN]
    if not listed:
        return ""
    return markup.section("Runs", job_rows(workspace, listed, can_stop=False))

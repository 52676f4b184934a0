"""Merge: choose adapters, weigh them, pick a method, see what would come out, try the blend, make the version."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from medley.ui import markup, merge_form, merge_job
from medley.ui.address import go_when_set, put_query
from medley.ui.controls import control
from medley.ui.merge_form import MAX_INPUTS, parameters_of
from medley.ui.workspace import Workspace, query_value
from merging import METHODS

INTRO = "Blend adapters of one base into a new one. Nothing is loaded but the adapters, and the error is known exactly."
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
SPACES = [
    ("core: fast, in the adapters' shared directions", "core"),
    ("delta: entry by entry, as in the papers", "delta"),
    ("knots: shared rows, columns as they are", "knots"),
    ("compressed: as few shared directions as the rank says", "compressed"),
]


@dataclass(frozen=True)
class Form:
    """The controls that make a recipe; `inputs` is the order in which `merge_form.read` takes their values."""

    adapters: gr.Dropdown
    weights: tuple[gr.Slider, ...]
    method: gr.Dropdown
    parameters: tuple[gr.components.Component, ...]
    rank: gr.Textbox
    space: gr.Dropdown
    variant: gr.Dropdown
    seed: gr.Number
    groups: tuple[gr.Column, ...]

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self.adapters, *self.weights, self.method, *self.parameters, self.rank, self.space, self.variant,
                self.seed]  # fmt: skip


def build(page: gr.Blocks, workspace: Workspace) -> None:
    gr.HTML(markup.page_head("Merge", INTRO))
    with gr.Row(elem_classes="m-columns"):
        with gr.Column(scale=2):
            form, when = _build_form()
            panel = _build_result(workspace)
        with gr.Column(scale=1):
            findings = gr.HTML(elem_id="merge-findings")
            pictures = gr.HTML(elem_id="merge-pictures", min_height=420)
            recipe = gr.HTML(elem_id="merge-recipe")
    blend, method_name = gr.Textbox(visible=False), gr.Textbox(visible=False)
    _listen(workspace, form, when, [findings, recipe, blend, method_name], pictures)
    for each in (blend, method_name):
        each.change(None, [blend, method_name], None, js=put_query(["adapters", "method"]), api_visibility="private")
    target = gr.Textbox(visible=False)
    tried = panel.try_it.click(partial(merge_form.try_address, workspace), form.inputs, [target, panel.notice], **QUIET)
    tried.then(**go_when_set(target))
    if not workspace.is_read_only:
        merge_job.listen(workspace, panel, form.inputs)

    def load(request: gr.Request) -> list[Any]:
        values = merge_form.values_from_address(workspace, request)
        shown = merge_form.sliders(values[0], values[1 : 1 + MAX_INPUTS])
        choices = gr.Dropdown(merge_form.adapter_choices(workspace, values[0]), value=values[0])
        job = [] if workspace.is_read_only else merge_job.resume(workspace, query_value(request, "job"))
        return [choices, *shown, *values[1 + MAX_INPUTS :], *merge_form.look(workspace, *values), *job]

    watched = [] if workspace.is_read_only else [panel.job_id, panel.progress, panel.timer]
    outputs = [form.adapters, *form.weights, *form.inputs[1 + MAX_INPUTS :], findings, recipe, blend, method_name]
    loaded = page.load(load, None, [*outputs, *watched], **QUIET)
    loaded.then(merge_form.show_method, [form.adapters, form.method], [when, *form.groups,
                form.space, form.variant, form.seed, *form.weights], **QUIET)  # fmt: skip
    loaded.then(partial(merge_form.pictures, workspace), form.inputs, pictures, concurrency_id="merge-pictures",
                **QUIET)  # fmt: skip


def _build_form() -> tuple[Form, gr.HTML]:
    with gr.Column(elem_classes="m-panel"):
        gr.HTML(markup.heading("1. What goes in"))
        adapters = gr.Dropdown([], multiselect=True, label="Adapters", info="Two or more, all of one base model.",
                               max_choices=MAX_INPUTS, elem_id="merge-adapters")  # fmt: skip
        weights = tuple(
            gr.Slider(-1, 2, value=1, step=0.05, label=f"Weight {i + 1}", visible=False, elem_id=f"weight-{i}")
            for i in range(MAX_INPUTS)
        )
    with gr.Column(elem_classes="m-panel"):
        gr.HTML(markup.heading("2. How"))
        method = gr.Dropdown(list(METHODS), value="linear", label="Method", elem_id="merge-method")
        when = gr.HTML(elem_id="merge-when", min_height=44)
        groups, parameters = [], []
        for name in METHODS:
            with gr.Column(visible=False) as group, gr.Row(elem_classes="m-fields m-top"):
                parameters += [control(each, elem_id=f"{name}-{each.name}") for each in parameters_of(name)]
            groups.append(group)
        space = gr.Dropdown(SPACES, value="core", label="Where entries are compared", visible=False)
        with gr.Accordion("More settings", open=False):
            rank = gr.Textbox("auto", label="Rank", max_lines=1,
                              info="auto, exact, a whole number at most, or energy:0.99 for a share kept.")  # fmt: skip
            variant = gr.Dropdown([("mergekit's rule", "mergekit"), ("the paper's rule", "paper")], value="mergekit",
                                  label="Variant", visible=False)  # fmt: skip
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, visible=False,
                             info="Of the random choices; same seed, same bytes.")  # fmt: skip
    form = Form(adapters, weights, method, tuple(parameters), rank, space, variant, seed, tuple(groups))
    return form, when


def _build_result(workspace: Workspace) -> merge_job.MergePanel:
    with gr.Column(elem_classes="m-panel"):
        gr.HTML(markup.heading("3. What comes out"))
        name = gr.Textbox(label="Name of the merge", info="Small letters, digits, dots and dashes.",
                          placeholder="pirate-lists", max_lines=1, visible=not workspace.is_read_only)  # fmt: skip
        with gr.Row(elem_classes="m-actions"):
            merge = gr.Button("Merge", variant="primary", visible=not workspace.is_read_only, elem_id="merge-start")
            try_it = gr.Button("Try it now", elem_id="merge-try")
        notice = gr.HTML(elem_id="merge-notice")
        progress = gr.HTML(elem_id="merge-progress")
    return merge_job.MergePanel(
        name, merge, try_it, notice, progress, gr.Textbox(visible=False), gr.Timer(0.7, active=False)
    )


def _listen(
    workspace: Workspace, form: Form, when: gr.HTML, quick: list[gr.components.Component], pictures: gr.HTML
) -> None:
    """Quick answers on every change; the pictures, which read weights, when a slider is let go."""
    choose = [when, *form.groups, form.space, form.variant, form.seed, *form.weights]
    rearranged = gr.on(
        [form.adapters.input, form.method.input], merge_form.choose_anew,
        [form.adapters, form.method], choose, **QUIET,
    )  # fmt: skip
    # What is shown together shares a concurrency id: answers come in the order of the changes, the last one last.
    look = {"fn": partial(merge_form.look, workspace), "inputs": form.inputs, "outputs": quick,
            "concurrency_id": "merge-look", **QUIET}  # fmt: skip
    draw = {"fn": partial(merge_form.pictures, workspace), "inputs": form.inputs, "outputs": pictures,
            "concurrency_id": "merge-pictures", "show_progress": "minimal", "api_visibility": "private"}  # fmt: skip
    moved = [each.input for each in form.inputs if each not in (form.adapters, form.method)]
    gr.on(moved, **look, trigger_mode="always_last")
    let_go = [each.release for each in (*form.weights, *form.parameters) if isinstance(each, gr.Slider)]
    typed = [form.rank.submit, form.rank.blur, form.space.input, form.variant.input]
    gr.on([*let_go, *typed], **draw, trigger_mode="always_last")
    rearranged.then(**look)
    rearranged.then(**draw)

"""Merge: choose adapters, weigh them, pick a method, see what would come out, try the blend, make the version."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from medley.ui import markup, merge_address, merge_blend, merge_form, merge_guide, merge_job, merge_pictures
from medley.ui.address import put_query
from medley.ui.controls import NO_RESET, control
from medley.ui.merge_form import MAX_INPUTS, parameters_of
from medley.ui.workspace import Workspace, query_value
from merging import METHODS
from merging.guidance import DEFAULT_METHOD

INTRO = "Blend adapters of one base into a new one. Nothing is loaded but the adapters, and the error is known exactly."
SWITCHED_OFF = (
    "Merging is switched off here. Download the recipe and run it where your adapters are: "
    "medley merge recipe.yaml --name NAME."
)
READING = '<p class="m-quiet">Looking at the adapters.</p>'
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


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


@dataclass(frozen=True)
class Pictures:
    """What the numbers say: the pictures, the choice of what likeness means, and the slider that cuts."""

    kind: gr.Radio
    likeness: gr.HTML
    spectrum: gr.HTML
    rank: gr.Slider
    layers: gr.HTML
    cut: gr.State


def build(page: gr.Blocks, workspace: Workspace) -> None:
    gr.HTML(markup.page_head("Merge", INTRO))
    with gr.Row(elem_classes="m-columns m-merge"):
        with gr.Column(scale=3):
            form, when = _build_form()
            preview = merge_blend.build_panel()
            panel = _build_result(workspace)
        with gr.Column(scale=2):
            findings = gr.HTML(markup.section("Preflight", READING), elem_id="merge-findings")
            pictures = _build_pictures()
            recipe = gr.HTML(elem_id="merge-recipe")
    address = [gr.Textbox(visible=False) for _ in merge_address.KEPT]
    quick = [findings, recipe, *address]
    draw = _listen(workspace, form, when, quick, pictures, panel.estimate)
    for each in address:
        each.change(
            None, address, None, js=put_query([*merge_address.KEPT, merge_address.GONE]), api_visibility="private"
        )
    merge_blend.listen(workspace, preview, form.inputs, panel.notice)
    if not workspace.is_read_only:
        merge_job.listen(workspace, panel, form.inputs)

    def load(request: gr.Request) -> list[Any]:
        values = merge_address.values_from_address(workspace, request)
        shown = merge_form.sliders(values[0], values[1 : 1 + MAX_INPUTS])
        choices = gr.Dropdown(merge_form.adapter_choices(workspace, values[0]), value=values[0])
        job = [] if workspace.is_read_only else merge_job.resume(workspace, query_value(request, "job"))
        looked = merge_form.look(workspace, *values)
        if notice := merge_form.recipe_notice(workspace, request):
            looked[0] = markup.section("Preflight", notice)
        return [choices, *shown, *values[1 + MAX_INPUTS :], *looked, *job]

    watched = [] if workspace.is_read_only else panel.watched
    loaded = page.load(load, None, [*form.inputs, *quick, *watched], **QUIET)
    loaded.then(merge_form.show_method, [form.adapters, form.method, form.space], [when, *form.groups,
                form.space, form.variant, form.seed, *form.weights], **QUIET)  # fmt: skip
    loaded.then(**draw)


def _build_form() -> tuple[Form, gr.HTML]:
    with gr.Column(elem_classes="m-panel"):
        gr.HTML(markup.heading("1. What goes in"))
        adapters = gr.Dropdown([], multiselect=True, label="Adapters", info="Two to eight, all of one base model.",
                               max_choices=MAX_INPUTS, elem_id="merge-adapters")  # fmt: skip
        weights = tuple(
            gr.Slider(
                -1, 2, value=1, step=0.01, label=f"Weight {i + 1}", visible=False, elem_id=f"weight-{i}", **NO_RESET
            )
            for i in range(MAX_INPUTS)
        )
    with gr.Column(elem_classes="m-panel"):
        gr.HTML(markup.heading("2. How"))
        gr.HTML(merge_guide.guide_html(), elem_id="merge-guide")
        method = gr.Dropdown(merge_guide.method_choices(), value=DEFAULT_METHOD, label="Method", elem_id="merge-method")
        when = gr.HTML(elem_id="merge-when", min_height=44)
        groups, parameters = [], []
        for name in METHODS:
            with gr.Column(visible=False) as group, gr.Row(elem_classes="m-fields m-top"):
                parameters += [control(each, elem_id=f"{name}-{each.name}") for each in parameters_of(name)]
            groups.append(group)
        space = gr.Dropdown(merge_guide.space_choices("ties"), value=merge_guide.DEFAULT_SPACE,
                            label="Where the deltas are compared or added", visible=False,
                            elem_id="merge-space", allow_custom_value=True)  # fmt: skip
        # Any word is let in: while the choices change, the browser may still send the one before. `read` judges it.
        with gr.Accordion("More settings", open=False):
            rank = gr.Textbox("auto", label="Rank", max_lines=1,
                              info="auto, exact, a whole number at most, or energy:0.99 for a share kept.")  # fmt: skip
            variant = gr.Dropdown([("mergekit's rule", "mergekit"), ("the paper's rule", "paper")], value="mergekit",
                                  label="Variant", visible=False)  # fmt: skip
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, visible=False,
                             info="Of the random choices; same seed, same bytes.")  # fmt: skip
    form = Form(adapters, weights, method, tuple(parameters), rank, space, variant, seed, tuple(groups))
    return form, when


def _build_pictures() -> Pictures:
    likeness, spectrum, layers = merge_pictures.blanks(merge_pictures.NOT_CHOSEN)
    with gr.Column(elem_classes="m-panel m-picture"):
        spectrum = gr.HTML(spectrum, elem_id="merge-spectrum")
        rank = gr.Slider(0, 16, value=0, step=1, label="Cut every module to rank", elem_id="merge-rank",
                         info="0 cuts nothing. A lower rank makes a smaller, faster adapter.",
                         interactive=False, **NO_RESET)  # fmt: skip
    with gr.Column(elem_classes="m-panel m-picture"):
        gr.HTML(markup.heading("How alike they are"))
        kind = gr.Radio(list(merge_pictures.LIKENESS), value=merge_pictures.DIRECTION, label="What is compared",
                        show_label=False, elem_id="merge-likeness")  # fmt: skip
        likeness = gr.HTML(likeness, elem_id="merge-pictures")
    layers = gr.HTML(layers, elem_id="merge-layers")
    return Pictures(kind, likeness, spectrum, rank, layers, gr.State(merge_pictures.Spectrum()))


def _build_result(workspace: Workspace) -> merge_job.MergePanel:
    with gr.Column(elem_classes="m-panel"):
        gr.HTML(markup.heading("4. What comes out"))
        name = gr.Textbox(label="Name of the merge", info="Small letters, digits, dots and dashes.",
                          placeholder="pirate-lists", max_lines=1, visible=not workspace.is_read_only)  # fmt: skip
        gr.HTML(markup.notice("plain", SWITCHED_OFF) if workspace.is_read_only else "")
        estimate = gr.HTML(merge_pictures.ESTIMATE_LATER, elem_id="merge-estimate")
        with gr.Row(elem_classes="m-actions"):
            merge = gr.Button("Merge", variant="primary", visible=not workspace.is_read_only, elem_id="merge-start")
        notice = gr.HTML(elem_id="merge-notice")
        progress = gr.HTML(elem_id="merge-progress")
    job_id, timer = gr.Textbox(visible=False), gr.Timer(0.7, active=False)
    return merge_job.MergePanel(name, merge, estimate, notice, progress, job_id, timer)


def _listen(
    workspace: Workspace, form: Form, when: gr.HTML, quick: list[gr.components.Component], pictures: Pictures,
    estimate: gr.HTML,
) -> dict[str, Any]:  # fmt: skip
    """Quick answers on every change; the pictures, which read weights, when a slider is let go. Returns the latter."""
    choose = [when, *form.groups, form.space, form.variant, form.seed, *form.weights]
    rearranged = gr.on(
        [form.adapters.input, form.method.input], merge_form.choose_anew,
        [form.adapters, form.method, form.space], choose, **QUIET,
    )  # fmt: skip
    # What is shown together shares a concurrency id: answers come in the order of the changes, the last one last.
    look = {"fn": partial(merge_form.look, workspace), "inputs": form.inputs, "outputs": quick,
            "concurrency_id": "merge-look", **QUIET}  # fmt: skip
    drawn = [pictures.likeness, pictures.spectrum, pictures.rank, pictures.layers, estimate, pictures.cut]
    slow = {"show_progress": "minimal", "show_progress_on": [pictures.likeness, pictures.spectrum, pictures.layers]}
    draw = {"fn": partial(merge_pictures.draw, workspace), "inputs": [pictures.kind, *form.inputs], "outputs": drawn,
            "concurrency_id": "merge-pictures", **QUIET, **slow}  # fmt: skip
    moved = [each.input for each in form.inputs if each not in (form.adapters, form.method)]
    gr.on(moved, **look, trigger_mode="always_last")
    let_go = [each.release for each in (*form.weights, *form.parameters) if isinstance(each, gr.Slider)]
    others = [each.input for each in form.parameters if isinstance(each, (gr.Checkbox, gr.Dropdown))]
    typed = [form.rank.submit, form.rank.blur, form.space.input, form.variant.input, pictures.kind.input]
    fields = [each for each in form.parameters if isinstance(each, (gr.Number, gr.Textbox))]
    typed += [event for each in (*fields, form.seed) for event in (each.blur, each.submit)]
    gr.on([*let_go, *others, *typed], **draw, trigger_mode="always_last")
    pictures.rank.input(
        merge_pictures.cut, [pictures.cut, pictures.rank], [pictures.spectrum, form.rank],
        trigger_mode="always_last", concurrency_id="merge-pictures", **QUIET,
    )  # fmt: skip
    pictures.rank.input(
        partial(merge_pictures.look_cut, workspace), [pictures.rank, *form.inputs], quick,
        trigger_mode="always_last", concurrency_id="merge-look", **QUIET,
    )  # fmt: skip
    pictures.rank.release(
        partial(merge_pictures.draw_cut, workspace), [pictures.kind, pictures.rank, *form.inputs], drawn,
        trigger_mode="always_last", concurrency_id="merge-pictures", **QUIET,
    )  # fmt: skip
    rearranged.then(**look)
    rearranged.then(**draw)
    return draw

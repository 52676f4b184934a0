"""A small form that compares adapter types: the same rows, the same number of steps, one table at the end."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from medley.errors import ParameterError
from medley.options import Option, describe
from medley.ui import markup
from medley.ui.address import go_when_set
from medley.ui.controls import changed, control, to_value
from medley.ui.workspace import Workspace, attempt
from trainers.trial_options import TRIAL_TYPES, TrialOptions

TYPES = "types"
INTRO = "Every type is trained on the same rows for as many steps; the table tells what each learned, forgot and cost."


def numbers_of() -> list[Option]:
    """The options beside the types that the form shows; the others stay at their defaults."""
    return [each for each in describe(TrialOptions) if each.name != TYPES and not each.is_advanced]


def build(workspace: Workspace, base: gr.Dropdown) -> gr.Dropdown:
    """The folded form, for the base that the training form has chosen; returns its choice of a dataset."""
    types = next(each for each in describe(TrialOptions) if each.name == TYPES)
    target = gr.Textbox(visible=False)
    with gr.Accordion("Compare adapter types on one dataset", open=False, elem_classes="m-fold"):
        gr.HTML(f'<p class="m-quiet">{markup.escape(INTRO)}</p>')
        with gr.Row():
            data = gr.Dropdown([], label="Examples", info="A dataset with an eval split.", min_width=220)
            name = gr.Textbox(label="Name of the report", info="Small letters, digits, dots and dashes.",
                              placeholder="types", max_lines=1, min_width=220)  # fmt: skip
        picks = gr.CheckboxGroup(list(TRIAL_TYPES), value=list(types.default), label="Types", elem_id="types-picked")
        with gr.Row(elem_classes="m-fields"):
            numbers = [control(each, min_width=150, elem_id=f"types-{each.name}") for each in numbers_of()]
        begin = gr.Button("Compare types", elem_id="compare-types")
        notice = gr.HTML()
    begun = begin.click(
        partial(start, workspace), [base, data, name, picks, *numbers], [target, notice], concurrency_limit=4,
        api_visibility="private",
    )  # fmt: skip
    begun.then(**go_when_set(target))
    return data


def choices(workspace: Workspace) -> Any:
    """The datasets that types can be compared on."""
    names = workspace.names("dataset", data_kinds=("sft",))
    return gr.Dropdown(names, value=next(iter(names), None))


def start(
    workspace: Workspace, base: str, data: str, name: str, picks: Sequence[str], *numbers: Any
) -> tuple[str, str]:
    """Queue the comparison: the address of its page, or an empty one and the sentence about what is wrong."""

    def submit() -> str:
        from medley.jobs import compare_types_spec

        workspace.check_writable("Training")
        if not data:
            raise ParameterError("Choose a dataset of examples. There is none yet: import one on the Data page.")
        if not (name or "").strip():
            raise ParameterError("Give the report a name, for example 'types'.")
        options = numbers_of()
        values = {each.name: to_value(each, value) for each, value in zip(options, numbers, strict=True)}
        chosen = {TYPES: tuple(picks or ()), **changed(options, values)}
        spec = compare_types_spec(workspace.registry, base=base or None, data=data, name=name.strip(), options=chosen)
        return workspace.submit(spec).id

    job_id, notice = attempt(submit)
    return (markup.address("train", {"job": job_id}), "") if job_id else ("", notice)

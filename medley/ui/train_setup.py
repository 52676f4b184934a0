"""The training form: goal, then base, data and name, then the trainer's settings; at the right what it all means.

Every trainer's controls are made once and shown in turn, so that a change of the goal moves nothing above them and
what was typed stays. The handlers are in train_form.py, train_fields.py and train_plan.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from medley.ui import markup, reward_fields, train_form, train_plan
from medley.ui.address import go_when_set, put_query
from medley.ui.train_fields import (
    DEFAULT_PRESET,
    PLAIN_KIND,
    TrainerFields,
    build_fields,
    fields_of,
    preset_note,
    preset_values,
    shown_for_kind,
    shown_with_start,
)
from medley.ui.train_plan import START, has_start
from medley.ui.workspace import Workspace, query_value
from trainers import TRAINERS

QUIET = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Form:
    """The controls that say what is trained; `inputs` is the order in which handlers take them."""

    goal: gr.Radio
    method: gr.Radio
    note: gr.HTML
    base: gr.Dropdown
    data: gr.Dropdown
    data_note: gr.HTML
    name: gr.Textbox
    start: gr.Dropdown
    fields: Sequence[TrainerFields]
    begin: gr.Button
    notice: gr.HTML
    plan: gr.HTML
    recipe: gr.HTML

    @property
    def shared(self) -> list[gr.components.Component]:
        return [self.base, self.data, self.name, self.start]

    @property
    def inputs(self) -> list[gr.components.Component]:
        """The trainer, what all trainers share, then every trainer's controls."""
        return [self.method, *self.shared, *(each for fields in self.fields for each in fields.controls)]

    @property
    def swapped(self) -> list[Any]:
        """What a change of the trainer changes."""
        return [self.note, self.data, self.data_note, self.start, *(fields.panel for fields in self.fields)]

    @property
    def loaded(self) -> list[Any]:
        """What the page's load fills."""
        rewards = [each for fields in self.fields for each in fields.controls if _is_reward_choice(each)]
        return [self.goal, self.method, self.base, self.name, *self.swapped, self.plan, self.recipe, *rewards]


def _is_reward_choice(control: gr.components.Component) -> bool:
    names = (*reward_fields.WORDS, *reward_fields.WATCHED)
    return str(control.elem_id or "").rpartition("-")[2] in names


def build(workspace: Workspace) -> Form:
    """The form with its listeners."""
    first = next(iter(TRAINERS))
    with gr.Row(elem_classes="m-columns"):
        with gr.Column(scale=2):
            with gr.Column(elem_classes="m-panel"):
                gr.HTML(markup.heading("1. What for"))
                goal = gr.Radio(train_form.goals(), value=TRAINERS[first].goal, label="Goal", elem_id="train-goal",
                                elem_classes="m-choices")  # fmt: skip
                method = gr.Radio([first], value=first, label="Method", visible=False, elem_id="train-method")
                note = gr.HTML(train_form.trainer_note(first), min_height=40, elem_id="train-note")
            with gr.Column(elem_classes="m-panel"):
                gr.HTML(markup.heading("2. From what"))
                base, data, data_note, name, start = _build_inputs()
            with gr.Column(elem_classes="m-panel"):
                gr.HTML(markup.heading("3. How", "A preset fills the fields; every field can be changed."))
                fields = [build_fields(each, is_visible=each == first) for each in TRAINERS]
                begin = gr.Button("Start training", variant="primary", elem_id="start-training")
                notice = gr.HTML(elem_id="train-notice")
        with gr.Column(scale=1):
            plan = gr.HTML(elem_id="train-plan", min_height=300)
            with gr.Accordion("The same as recipe.yaml", open=False, elem_classes="m-fold"):
                recipe = gr.HTML(elem_id="train-recipe")
    form = Form(goal, method, note, base, data, data_note, name, start, fields, begin, notice, plan, recipe)
    _listen(workspace, form)
    return form


def _build_inputs() -> tuple[gr.Dropdown, gr.Dropdown, gr.HTML, gr.Textbox, gr.Dropdown]:
    with gr.Row():
        base = gr.Dropdown([], label="Base model", info="The model that stays as it is.", min_width=220)
        data = gr.Dropdown([], label="Dataset", info="What it learns from.", min_width=220)
    data_note = gr.HTML(elem_id="train-data-note")
    with gr.Row():
        name = gr.Textbox(label="Name of the adapter", info="Small letters, digits, dots and dashes.",
                          placeholder="pirate", max_lines=1, min_width=220)  # fmt: skip
        start = gr.Dropdown([], label=train_form.START_WORDS["init"][0], info=train_form.START_WORDS["init"][1],
                            min_width=220)  # fmt: skip
    return base, data, data_note, name, start


def _listen(workspace: Workspace, form: Form) -> None:
    target = gr.Textbox(visible=False)
    look = {
        "fn": partial(look_at, workspace),
        "inputs": form.inputs,
        "outputs": [form.plan, form.recipe],
        "concurrency_id": "train-plan",
        **QUIET,
    }  # one after the other: an older plan must not come last
    for fields in form.fields:
        one = {**look, "fn": partial(look_at, workspace, fields.trainer), "inputs": [*form.shared, *fields.controls]}
        gr.on(_triggers(fields.controls), **one, trigger_mode="always_last")
        chosen = [fields.preset, *([fields.kind] if fields.kind else [])]
        filled = fields.preset.input(
            partial(fill, fields.trainer), chosen, [fields.preset_note, *fields.controls], **QUIET
        )
        filled.then(**one)
        if fields.kind:
            shown = [fields.preset_note, *fields.controls]
            shaped = fields.kind.input(partial(shown_for_kind, fields.trainer), chosen, shown, **QUIET)
            shaped.then(**one)
        started = [form.start, *([fields.kind] if fields.kind else [])]
        form.start.change(partial(shape_for_start, fields.trainer), started, list(fields.controls), **QUIET)
    gr.on(_triggers(form.shared), **look, trigger_mode="always_last")
    chosen = form.goal.input(
        partial(choose_goal, workspace), [form.goal, form.data], [form.method, *form.swapped], **QUIET
    )
    switched = form.method.input(partial(choose_trainer, workspace), [form.method, form.data], form.swapped, **QUIET)
    for event in (chosen, switched):
        event.then(**look).then(None, [form.method, form.data], None, js=put_query(["trainer", "data"]),
                                api_visibility="private")  # fmt: skip
    begun = form.begin.click(
        partial(begin_training, workspace), form.inputs, [target, form.notice], concurrency_limit=4,
        api_visibility="private",
    )  # fmt: skip
    begun.then(**go_when_set(target))


def shape_for_start(trainer: str, start: str, kind: str = PLAIN_KIND) -> list[Any]:
    """The fields that shape an adapter are there for a fresh one only."""
    return shown_with_start(trainer, has_start(start), kind or PLAIN_KIND)


def _triggers(controls: Sequence[Any]) -> list[Any]:
    """Every keystroke and choice; and leaving a text field, because Gradio does not tell of text that is pasted."""
    return [*(each.input for each in controls), *(each.blur for each in controls if isinstance(each, gr.Textbox))]


def values_of(trainer: str, values: Sequence[Any]) -> list[Any]:
    """The values of one trainer's controls among those of all, or of this trainer alone."""
    sizes = {name: len(preset_values(name, DEFAULT_PRESET)) for name in TRAINERS}
    if len(values) == sizes[trainer]:
        return list(values)
    before = sum(size for name, size in sizes.items() if list(TRAINERS).index(name) < list(TRAINERS).index(trainer))
    return list(values[before : before + sizes[trainer]])


def look_at(workspace: Workspace, trainer: str, base: str, data: str, name: str, start: str, *values: Any) -> Any:
    """The plan and the recipe of what the form holds."""
    return train_plan.plan(workspace, trainer, base, data, name, start, values_of(trainer, values))


def begin_training(
    workspace: Workspace, trainer: str, base: str, data: str, name: str, start: str, *values: Any
) -> tuple[str, str]:
    """Queue what the form holds; see `train_form.start`."""
    return train_form.start(workspace, trainer, base, data, name, start, values_of(trainer, values))


def fill(trainer: str, preset: str, kind: str = PLAIN_KIND) -> list[Any]:
    """A preset's note and the values of all controls."""
    return [preset_note(trainer, preset, kind), *preset_values(trainer, preset, kind)]


def choose_goal(workspace: Workspace, goal: str, data: str | None) -> list[Any]:
    """The goal's trainers, and all that belongs to the first of them."""
    names = train_form.trainers_of(goal)
    return [method_choice(names[0]), *choose_trainer(workspace, names[0], data)]


def method_choice(trainer: str) -> Any:
    """The trainers of the same goal; nothing to choose where it is the only one."""
    names = train_form.trainers_of(TRAINERS[trainer].goal)
    return gr.Radio([(name.upper(), name) for name in names], value=trainer, visible=len(names) > 1)


def choose_trainer(workspace: Workspace, trainer: str, data: str | None, start: str | None = None) -> list[Any]:
    """Values for `Form.swapped`: the datasets it can take, what the start means to it, and its own fields."""
    datasets = train_form.data_choices(workspace, trainer)
    chosen = train_form.chosen_data(datasets, data)
    label, info = train_form.START_WORDS[TRAINERS[trainer].init_role]
    starts = {"choices": with_choice(start, train_form.start_choices(workspace)), **({"value": start} if start else {})}
    return [
        train_form.trainer_note(trainer),
        gr.Dropdown(with_choice(chosen, datasets), value=chosen),
        train_form.data_note(trainer, datasets),
        gr.Dropdown(label=label, info=info, **starts),
        *(gr.Column(visible=name == trainer) for name in TRAINERS),
    ]


def with_choice(wanted: str | None, choices: list[str]) -> list[str]:
    """The choices, with the wanted one among them."""
    return choices if not wanted or wanted in choices else [wanted, *choices]


def load(workspace: Workspace, request: gr.Request) -> list[Any]:
    """Values for `Form.loaded`: the address may name trainer, base, data, start, name and a reward."""
    data, name = query_value(request, "data"), query_value(request, "name")
    trainer = train_form.wanted_trainer(workspace, query_value(request, "trainer"), data)
    bases = train_form.base_choices(workspace)
    start, reward = query_value(request, "from") or START, query_value(request, "reward")
    base = query_value(request, "base") or train_form.base_under(workspace, start, reward) or next(iter(bases), None)
    datasets = train_form.data_choices(workspace, trainer)
    chosen = train_form.chosen_data(datasets, data)
    values = preset_values(trainer, DEFAULT_PRESET)
    if reward and reward_fields.is_reward_list(fields_of(trainer)[0]):
        values[0] = [reward]
    return [
        gr.Radio(value=TRAINERS[trainer].goal),
        method_choice(trainer),
        gr.Dropdown(with_choice(base, bases), value=base),
        name or gr.skip(),
        *choose_trainer(workspace, trainer, data, start),
        *train_plan.plan(workspace, trainer, base or "", chosen or "", name, start, values),
        *_reward_choices(workspace, reward),
    ]


def _reward_choices(workspace: Workspace, reward: str) -> list[Any]:
    """The functions and the registry's reward models, for every control that offers rewards."""
    models = workspace.adapters(is_reward=True)
    wanted = {"value": [reward]} if reward else {}
    updates: list[Any] = []
    for option in (each for trainer in TRAINERS for each in fields_of(trainer)):
        if reward_fields.is_reward_list(option):
            updates.append(gr.CheckboxGroup(reward_fields.reward_choices(models), **wanted))
        elif reward_fields.is_watched_reward(option):
            updates.append(gr.Dropdown(reward_fields.watched_choices(models)))
    return updates

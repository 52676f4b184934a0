"""The controls of one trainer: the few settings that matter, the rest folded in groups; and what they hold as options.

All of it follows from the trainers' table and their options classes: a new trainer or option appears by itself. Where
a trainer can train several kinds of adapter, the fields of the chosen kind are shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medley.errors import ParameterError, ProblemsError
from medley.options import Option, describe
from medley.ui import markup, reward_fields
from medley.ui.controls import changed, control, label_of, to_text, to_value
from medley.ui.field_groups import fold_of, place_of
from trainers import PRESETS, TRAINERS
from trainers import preset as values_of
from trainers.adapter_kinds import ADAPTER_KINDS, SHAPING

DEFAULT_PRESET = "balanced"
KIND, PLAIN_KIND = "adapter", "lora"


@dataclass(frozen=True)
class TrainerFields:
    """The controls of one trainer, in the order in which its handlers take them."""

    trainer: str
    panel: gr.Column
    preset: gr.Radio
    preset_note: gr.HTML
    controls: Sequence[gr.components.FormComponent]

    @property
    def kind(self) -> gr.components.FormComponent | None:
        """The choice of the adapter's kind, where the trainer has it."""
        return next((each for each in self.controls if each.elem_id == f"option-{self.trainer}-{KIND}"), None)


def fields_of(trainer: str) -> list[Option]:
    """The options in the order of the form: those that matter first, and of these what is rewarded.

    What a trainer holds at one value (its range has no other) is not asked.
    """
    return sorted(
        (each for each in describe(TRAINERS[trainer].options_class) if each.low is None or each.low != each.high),
        key=lambda each: (each.is_advanced, not reward_fields.is_reward_list(each), place_of(fold_of(trainer, each))),
    )


def build_fields(trainer: str, *, is_visible: bool) -> TrainerFields:
    """One trainer's preset and controls, shown or hidden as a whole."""
    options = fields_of(trainer)
    plain = [each for each in options if not each.is_advanced]
    with gr.Column(visible=is_visible) as panel:
        names = [(name.capitalize(), name) for name in PRESETS]
        preset = gr.Radio(names, label="Preset", value=DEFAULT_PRESET, elem_id=f"preset-{trainer}")
        note = gr.HTML(preset_note(trainer, DEFAULT_PRESET), min_height=24)
        controls = _controls(trainer, [each for each in plain if reward_fields.is_reward_list(each)])
        with gr.Row(elem_classes="m-fields"):
            controls += _controls(trainer, [each for each in plain if not reward_fields.is_reward_list(each)])
        for title in dict.fromkeys(fold_of(trainer, each) for each in options if each.is_advanced):
            inside = [each for each in options if each.is_advanced and fold_of(trainer, each) == title]
            with gr.Accordion(title, open=False), gr.Row(elem_classes="m-fields"):
                controls += _controls(trainer, inside)
    return TrainerFields(trainer, panel, preset, note, controls)


def _controls(trainer: str, options: Sequence[Option]) -> list[gr.components.FormComponent]:
    prefix, made = f"option-{trainer}", []
    for option in options:
        if reward_fields.is_reward_list(option):
            made += reward_fields.build_picker(option, prefix).controls
        elif reward_fields.is_watched_reward(option):
            made.append(reward_fields.build_watched(option, prefix))
        else:
            made.append(control(option, min_width=180, elem_id=f"{prefix}-{option.name}"))
    return made


def shown_for_kind(trainer: str, preset: str, kind: str) -> list[Any]:
    """The preset's note, then for each control: shown where it shapes this kind, and the preset's rate for it."""
    options = fields_of(trainer)
    values = dict(zip((each.name for each in options), preset_values(trainer, preset, kind), strict=True))
    updates: list[Any] = [preset_note(trainer, preset, kind)]
    for option in options:
        if option.name == "learning_rate":
            updates.append(gr.update(value=values[option.name]))
        elif option.name in SHAPING:
            updates.append(gr.update(visible=option.name in ADAPTER_KINDS[kind].options))
        else:
            updates.append(gr.skip())
    return updates


def shown_with_start(trainer: str, has_start: bool, kind: str = PLAIN_KIND) -> list[Any]:
    """For each control: an adapter that training goes on from keeps its shape, so there is nothing to choose then."""
    updates: list[Any] = []
    for option in fields_of(trainer):
        if option.name == KIND:
            updates.append(gr.update(visible=not has_start))
        elif option.name in SHAPING:
            updates.append(gr.update(visible=not has_start and option.name in ADAPTER_KINDS[kind].options))
        else:
            updates += [gr.skip()] * controls_of(option)
    return updates


def controls_of(option: Option) -> int:
    """How many controls an option takes."""
    return 3 if reward_fields.is_reward_list(option) else 1


def preset_note(trainer: str, preset: str, kind: str = PLAIN_KIND) -> str:
    """What the preset is for, what it sets and where that comes from."""
    chosen, said = PRESETS[preset], values_of(preset, trainer, kind)
    values = ", ".join(f"{label_of(name).lower()} {_plain(value)}" for name, value in said.items())
    is_sourced = trainer in chosen.sources and kind == PLAIN_KIND
    source = f" Source: {chosen.sources[trainer]}." if is_sourced else ""
    text = f"{chosen.summary} It sets {values or 'nothing beside the defaults'}.{source}"
    return f'<p class="m-quiet">{markup.escape(text)}</p>'


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def preset_values(trainer: str, preset: str, kind: str = PLAIN_KIND) -> list[Any]:
    """What the option controls show for a preset and a kind of adapter; what it does not name stands at its default."""
    chosen = {**values_of(preset, trainer, kind), **({KIND: kind} if kind != PLAIN_KIND else {})}
    shown: list[Any] = []
    for option in fields_of(trainer):
        value = chosen.get(option.name, option.default)
        if reward_fields.is_reward_list(option):
            shown += reward_fields.split_words(value)
        elif reward_fields.is_watched_reward(option):
            shown.append(list(value))
        else:
            shown.append(to_text(option, value))
    return shown


def read_options(trainer: str, shown_values: Sequence[Any], *, has_start: bool = False) -> dict[str, Any]:
    """The options that differ from their defaults.

    Args:
        has_start: training goes on from an adapter, which keeps its shape: the fields that shape one do not count.

    Raises:
        ProblemsError: every value that is out of range, together.
    """
    values, problems, rest = {}, [], list(shown_values)
    options = fields_of(trainer)
    for option in options:
        count = controls_of(option)
        parts, rest = rest[:count], rest[count:]
        try:
            values[option.name] = _read(option, parts)
        except ParameterError as error:
            problems.append(str(error))
    assert not rest, "the form has more controls than the trainer has options"
    if problems:
        raise ProblemsError("the settings", problems)
    shaped_by = () if has_start else (KIND, *ADAPTER_KINDS[values.get(KIND, PLAIN_KIND)].options)
    hidden = [name for name in values if (name in SHAPING or name == KIND) and name not in shaped_by]
    return {name: value for name, value in changed(options, values).items() if name not in hidden}


def _read(option: Option, parts: Sequence[Any]) -> Any:
    if reward_fields.is_reward_list(option):
        return reward_fields.words_of(*parts)
    if reward_fields.is_watched_reward(option):
        return tuple(parts[0] or ())
    return to_value(option, parts[0])

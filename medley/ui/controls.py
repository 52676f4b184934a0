"""Form controls made from options: one control per field, with its range, default and help, and back to values.

Nothing about an option is typed again here; a new field in an options class appears in the form by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from medley.options import Option, check, split_words

WORDS = {
    "lr": "Learning-rate",
    "quant": "Precision of the base",
    "eval": "Eval",
    "rslora": "rsLoRA",
    "lora": "LoRA",
    "kl": "KL",
    "sft": "SFT",
    "eos": "EOS",
    "approxkl": "Approx-KL",
    "vf": "Value",
    "coef": "coefficient",
    "lam": "Lambda",
    "cliprange": "Clip-range",
    "ppo": "PPO",
    "t": "Position (t)",
}
CHOICE_WORDS = {("quant", "none"): "16-bit", ("quant", "4bit"): "4-bit (NF4)"}
NO_RESET: dict[str, Any] = {"buttons": []}  # Gradio's reset button moves a slider without an event: nobody hears of it
MAX_SLIDER_RANGE = 1.0  # wider ranges are typed: nobody finds 2e-4 with a mouse


def label_of(name: str) -> str:
    """The option's name in words: "learning_rate" is "Learning rate"."""
    words = [WORDS.get(word, word) for word in name.split("_")]
    return words[0][:1].upper() + words[0][1:] + "".join(f" {word}" for word in words[1:])


def control(option: Option, **settings: Any) -> gr.components.FormComponent:
    """The control for one option; `settings` go to Gradio as they are."""
    common = {"label": label_of(option.name), "info": option.help, "elem_id": f"option-{option.name}", **settings}
    if option.type is bool:
        return gr.Checkbox(value=bool(option.default), **common)
    if option.choices:
        choices = [(CHOICE_WORDS.get((option.name, word), word), word) for word in option.choices]
        return gr.Dropdown(choices, value=option.default, **common)
    if option.type is float and not option.optional and _is_share(option):
        low = option.low if option.low is not None else option.above or 0.0
        value = (low + option.high) / 2 if option.default is None else option.default
        return gr.Slider(low, option.high, value=value, step=0.01, **common, **NO_RESET)
    if option.type in (int, float) and option.optional:  # a number field cannot be left empty
        return gr.Textbox(value="", placeholder="not set", max_lines=1, **common)
    if option.type in (int, float):
        return gr.Number(value=option.default, precision=0 if option.type is int else None, **common)
    return gr.Textbox(value=to_text(option, option.default), max_lines=1, **common)


def _is_share(option: Option) -> bool:
    low = option.low if option.low is not None else option.above
    is_short = low is not None and option.high is not None and option.high - low <= MAX_SLIDER_RANGE
    return is_short and not (option.default is not None and 0 < option.default < 0.01)


def to_text(option: Option, value: Any) -> Any:
    """A value as its control shows it."""
    if option.optional and value is None:
        return ""
    return ", ".join(value) if option.type is tuple else value


def to_value(option: Option, shown: Any) -> Any:
    """What a control holds as the option's value, checked.

    Raises:
        ParameterError: outside the range, or not of the option's type.
    """
    if option.type is tuple:
        shown = split_words(str(shown or ""))
        shown = shown or (None if option.optional else shown)
    if isinstance(shown, str) and option.type in (int, float):
        shown = _number(shown.strip())
    if shown == "" or shown is None:
        shown = None if option.optional else option.default
    if option.type is int and isinstance(shown, float) and shown.is_integer():
        shown = int(shown)
    return check(option, shown)


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def changed(options: Sequence[Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """Only the values that differ from their defaults: what a command line or a recipe has to say."""
    return {each.name: values[each.name] for each in options if values[each.name] != each.default}

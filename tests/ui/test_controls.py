"""Controls come from options and lead back to the same values; what does not fit is told in the option's own words."""

import gradio as gr
import pytest

from medley.errors import ParameterError
from medley.options import describe
from medley.ui.controls import changed, control, label_of, to_text, to_value
from trainers import SFTOptions

OPTIONS = {each.name: each for each in describe(SFTOptions)}


def test_every_option_survives_its_control() -> None:
    for option in OPTIONS.values():
        shown = control(option).value
        assert to_value(option, shown) == option.default, option.name
        assert to_value(option, to_text(option, option.default)) == option.default, option.name


def test_each_kind_of_option_has_its_control() -> None:
    kinds = {
        name: type(control(OPTIONS[name])) for name in ("rank", "dropout", "rslora", "quant", "max_steps", "targets")
    }
    assert kinds == {"rank": gr.Number, "dropout": gr.Slider, "rslora": gr.Checkbox, "quant": gr.Dropdown,
                     "max_steps": gr.Textbox, "targets": gr.Textbox}  # fmt: skip


def test_typed_values_become_the_options_type() -> None:
    assert to_value(OPTIONS["max_steps"], " 12 ") == 12
    assert to_value(OPTIONS["max_steps"], "") is None
    assert to_value(OPTIONS["alpha"], "8") == 8.0
    assert to_value(OPTIONS["rank"], 8.0) == 8
    assert to_value(OPTIONS["rank"], None) == 16
    assert to_value(OPTIONS["targets"], "q_proj, v_proj") == ("q_proj", "v_proj")


@pytest.mark.parametrize(
    ("name", "shown", "message"),
    [
        ("max_steps", "many", "max_steps must be a whole number, got 'many'."),
        ("rank", 0, "rank must be in [1, 1024], got 0."),
        ("rank", 1.5, "rank must be a whole number, got 1.5."),
        ("alpha", "nan", "alpha must be above 0, got nan."),
        ("quant", "2bit", "quant must be one of none, 4bit, got 2bit."),
    ],
)
def test_what_does_not_fit_is_told(name: str, shown: object, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        to_value(OPTIONS[name], shown)
    assert str(error.value) == message


def test_only_changes_are_said() -> None:
    values = {name: option.default for name, option in OPTIONS.items()}
    assert changed(list(OPTIONS.values()), values | {"rank": 8, "rslora": True}) == {"rank": 8, "rslora": True}


def test_labels_are_words() -> None:
    assert [label_of(name) for name in ("learning_rate", "rslora", "quant", "lr_schedule")] == [
        "Learning rate", "RsLoRA", "Precision of the base", "Learning-rate schedule"]  # fmt: skip

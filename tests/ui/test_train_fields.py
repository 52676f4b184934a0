"""The form of every trainer: its controls hold its defaults, its kinds of adapter and rewards lead back to options."""

import gradio as gr
import pytest

from hub import Version
from medley.errors import ParameterError, ProblemsError
from medley.options import describe, from_mapping
from medley.ui import reward_fields, train_fields, train_form, train_setup
from medley.ui.field_groups import ORDER, fold_of
from medley.ui.workspace import Workspace
from trainers import PRESETS, TRAINERS


def names(trainer: str) -> list[str]:
    return [each.name for each in train_fields.fields_of(trainer)]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_form_left_alone_says_nothing_but_the_preset(trainer: str) -> None:
    with gr.Blocks():
        fields = train_fields.build_fields(trainer, is_visible=True)
    shown = [control.value for control in fields.controls]
    assert train_fields.read_options(trainer, shown) == {}
    for preset in PRESETS:
        values = train_fields.preset_values(trainer, preset)
        assert len(values) == len(fields.controls)
        options = TRAINERS[trainer].options_class
        chosen = {**{each.name: each.default for each in describe(options)}, **PRESETS[preset].values.get(trainer, {})}
        assert from_mapping(options, train_fields.read_options(trainer, values)) == options(**chosen)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_no_wall_of_fields(trainer: str) -> None:
    options = train_fields.fields_of(trainer)
    assert 4 <= len([each for each in options if not each.is_advanced]) <= 11
    folds = [fold_of(trainer, each) for each in options if each.is_advanced]
    assert max(folds.count(title) for title in folds) <= 14
    assert folds == sorted(folds, key=lambda title: ORDER.index(title) if title in ORDER else -1)


def test_goals_come_in_the_order_of_the_table() -> None:
    assert train_form.goals() == [
        "Teach by examples", "Train a reward model", "Align by preferences", "Align by reward"]  # fmt: skip
    assert train_form.trainers_of("Align by preferences") == ["dpo", "kto"]
    assert train_form.trainers_of("Align by reward") == ["ppo", "grpo"]
    assert "Learns from prompts (questions without answers); also takes examples" in train_form.trainer_note("ppo")


def test_values_of_one_trainer_are_found_among_all() -> None:
    everything = [value for trainer in TRAINERS for value in train_fields.preset_values(trainer, "quick")]
    for trainer in TRAINERS:
        own = train_fields.preset_values(trainer, "quick")
        assert train_setup.values_of(trainer, everything) == own
        assert train_setup.values_of(trainer, own) == own


def test_another_kind_of_adapter_hides_what_does_not_shape_it() -> None:
    note, *shown = train_fields.shown_for_kind("sft", "quick", "ia3")
    updates = dict(zip(names("sft"), shown, strict=True))
    assert "It sets epochs 1, max length 512." in note
    assert [updates[name]["visible"] for name in ("rank", "targets", "virtual_tokens")] == [False, True, False]
    assert updates["learning_rate"]["value"] == ""  # the kind's own
    values = dict(zip(names("sft"), train_fields.preset_values("sft", "quick", "ia3"), strict=True))
    read = train_fields.read_options("sft", list({**values, "rank": 8, "targets": "q_proj"}.values()))
    assert read == {"adapter": "ia3", "epochs": 1.0, "max_length": 512, "targets": ("q_proj",)}


def test_rewards_become_words_and_come_back() -> None:
    words = reward_fields.words_of(["sentiment", "matches", "judge"], " ^Yes ", "1, 0.5 -2")
    assert words == ("sentiment", "matches:^Yes=0.5", "judge=-2")
    assert reward_fields.split_words(words) == (["sentiment", "matches", "judge"], "^Yes", "1, 0.5, -2")
    assert reward_fields.words_of(["brevity"], "", "7") == ("brevity",)  # its weights are not shown
    assert reward_fields.split_words(()) == ([], "", "")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("1", "2 rewards are chosen, but 1 weights given. Write one each, or none."),
        ("1 much", "The weights must be numbers, got '1 much'."),
    ],
)
def test_wrong_weights_are_told(weights: str, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        reward_fields.words_of(["brevity", "length"], "", weights)
    assert str(error.value) == message


def test_a_wrong_weight_is_told_with_the_other_problems() -> None:
    values = train_fields.preset_values("ppo", "quick")
    values[0], values[2] = ["brevity", "length"], "1 2 3"
    values[names("ppo").index("updates") + 2] = 0  # rewards take three controls
    with pytest.raises(ProblemsError) as error:
        train_fields.read_options("ppo", values)
    assert list(error.value.problems) == [
        "2 rewards are chosen, but 3 weights given. Write one each, or none.",
        "updates must be in [1, 1000000], got 0.",
    ]


def test_fields_appear_where_they_are_needed() -> None:
    pattern, weights = reward_fields.shown_fields(["matches"])
    assert (pattern.visible, weights.visible) == (True, False)
    pattern, weights = reward_fields.shown_fields(["brevity", "length"])
    assert (pattern.visible, weights.visible) == (False, True)


def test_a_link_brings_reward_base_and_data_along(
    workspace: Workspace, dataset: Version, adapters: tuple[Version, Version]
) -> None:
    left = adapters[0].name
    query = {"trainer": "ppo", "reward": left, "data": "sums:v1", "name": "loud"}
    request = gr.Request()
    request.query_params = query
    values = train_setup.load(workspace, request)
    assert values[:4] == [values[0], values[1], values[2], "loud"]
    assert (values[0].value, values[1].value, values[2].value) == ("Align by reward", "ppo", "tiny-base")
    recipe = next(value for value in values if isinstance(value, str) and "trainer: ppo" in value)
    assert f"  reward:\n  - {left}\n" in recipe
    assert "gold_reward" not in recipe
    assert "data: sums:v1" in recipe
    assert [value.value for value in values if isinstance(value, gr.CheckboxGroup)] == [[left], [left]]


def test_a_dataset_alone_chooses_the_trainer(workspace: Workspace, dataset: Version) -> None:
    assert train_form.wanted_trainer(workspace, "", "sums") == "sft"
    assert train_form.wanted_trainer(workspace, "dpo", "sums") == "dpo"
    assert train_form.wanted_trainer(workspace, "nonsense", "no-such-data") == "sft"


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_adapter_to_go_on_from_brings_its_shape(trainer: str) -> None:
    """A preset's rank beside a start of another rank would be refused; so it is neither asked nor handed on."""
    with gr.Blocks():
        fields = train_fields.build_fields(trainer, is_visible=True)
    for start, is_fresh in ((train_setup.START, True), ("pirate", False)):
        updates = train_setup.shape_for_start(trainer, start)
        assert len(updates) == len(fields.controls)
        changed = dict(zip([control.elem_id for control in fields.controls], updates, strict=True))
        assert changed[f"option-{trainer}-rank"]["visible"] is is_fresh
    values = train_fields.preset_values(trainer, "thorough")
    rank = [name for name in ("rank", "rslora") if name in train_fields.read_options(trainer, values)]
    assert not {*rank, "adapter"} & train_fields.read_options(trainer, values, has_start=True).keys()

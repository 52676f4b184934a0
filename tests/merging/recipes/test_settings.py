import pytest
from mergekit.config import ConditionalParameter, evaluate_setting

from merging.method import DENSITY, WEIGHT, normalize
from merging.recipes.parameters import LARGEST
from merging.recipes.settings import setting_problem, value_at

NAME = "model.layers.3.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("setting", "depth", "expected"),
    [
        (0.5, 0.3, 0.5),
        ([0, 1], 0.25, 0.25),
        ([0, 0.5, 1, 0.5, 0], 0.6, 0.8),  # place 2.4 of 4: 0.6 · 1 + 0.4 · 0.5
        ([0.3], 0.7, 0.3),
        ([0, 1], 1.0, 1.0),
        ([{"filter": "mlp", "value": 2}, {"value": 1}], 0.5, 2.0),
        ([{"filter": "self_attn", "value": 2}, {"value": [1, 3]}], 0.5, 2.0),
        ([{"filter": "self_attn", "value": 2}, {"filter": "*", "value": 1}], 0.5, 1.0),
        ([{"filter": "self_attn", "value": 2}], 0.5, None),
        ({"filter": "up_proj", "value": 4}, 0.5, 4.0),
        (["1e-1", 0.3], 0.5, 0.2),  # YAML 1.1 reads 1e-1 as a word
    ],
)
def test_a_setting_means_what_it_means_in_mergekit(setting: object, depth: float, expected: float | None) -> None:
    ours = value_at(WEIGHT, setting, NAME, depth)
    assert ours == pytest.approx(expected)
    conditions = [setting] if isinstance(setting, dict) else setting
    has_filters = isinstance(conditions, list) and isinstance(conditions[0], dict)
    theirs = [ConditionalParameter(**each) for each in conditions] if has_filters else setting
    assert evaluate_setting(NAME, theirs, depth, validate=float) == pytest.approx(expected)


def test_words_and_truth_values_step() -> None:
    assert [value_at(normalize(True), [True, False], NAME, depth) for depth in (0.0, 0.9, 1.0)] == [True, True, False]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        (0.5, None),
        ([0.1, 1], None),
        ([{"filter": "mlp", "value": 0.5}], None),
        ([], "density: a list over the layers needs at least one value."),
        ([{"fliter": "mlp", "value": 0.5}], "density: There is no option 'fliter'. Did you mean 'filter'?"),
        (
            [{"filter": "mlp"}],
            "density: each entry of the list needs 'value', and may have 'filter', got {'filter': 'mlp'}.",
        ),
        ([{"value": 0.5}, 0.5], "density: each entry of the list needs 'value', and may have 'filter', got 0.5."),
        ({"filter": 3, "value": 0.5}, "density: filter must be text that occurs in tensor names, got 3."),
        ([[0.5]], "density must be a number, got [0.5]."),
        (None, "density must be a number, got None."),
    ],
)
def test_what_cannot_be_a_setting(setting: object, problem: str | None) -> None:
    assert setting_problem(DENSITY, setting) == problem


def test_weights_whose_squares_float32_cannot_hold_are_refused() -> None:
    """A weight of 1e300 would make every singular value infinite, and the result would look like zero."""
    assert setting_problem(WEIGHT, 1e6, largest=LARGEST) is None
    assert (
        setting_problem(WEIGHT, [1, -1e300], largest=LARGEST)
        == "weight must lie between -1e+06 and 1e+06, got -1e+300."
    )

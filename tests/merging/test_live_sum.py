"""The weights of an exact merge by module: their numbers, and where there are none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medley.errors import ProblemsError
from merging import module_weights, preflight, recipe_from_weights
from merging.recipes.recipe import Recipe


@pytest.fixture
def recipe(make_adapter: Callable[..., Path]) -> Callable[..., Recipe]:
    folders = [str(make_adapter("left", seed=1)), str(make_adapter("right", seed=2))]

    def make(method: str, *weights: float | None, **keys: object) -> Recipe:
        own = keys.pop("parameters", {})
        return recipe_from_weights(method, list(zip(folders, weights, strict=True)), own, **keys)

    return make


def test_the_numbers_are_those_of_the_rule(recipe: Callable[..., Recipe]) -> None:
    left, right = module_weights(preflight(recipe("linear", 3.0, 1.0)))
    assert set(left.values()) == {0.75}
    assert set(right.values()) == {0.25}
    assert len(left) == 14  # 7 linear layers in each of 2


@pytest.mark.parametrize(
    ("method", "weights", "keys"),
    [
        ("ties", (1.0, 1.0), {}),
        ("tsv", (1.0, 1.0), {}),
        ("concat", (1.0, 1.0), {}),
        ("linear", (1.0, 1.0), {"space": "compressed", "rank": 4}),
        ("nuslerp", (1.0, 1.0), {"parameters": {"nuslerp_flatten": False}}),
        ("model_stock", (None, None), {"parameters": {"filter_wise": True}}),
    ],
)
def test_where_numbers_per_module_are_not_the_merge_there_are_none(
    recipe: Callable[..., Recipe], method: str, weights: tuple, keys: dict
) -> None:
    assert module_weights(preflight(recipe(method, *weights, **keys))) is None


def test_a_refused_merge_has_none_either(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(ProblemsError, match="The weights sum to 0 and linear divides by their sum"):
        module_weights(preflight(recipe("linear", 1.0, -1.0)))

"""A recipe from a method and a list of adapters, with the defaults of the command line."""

import pytest

from medley.errors import ParameterError, ProblemsError
from merging.recipes.recipe import Slice, Source
from merging.recipes.shorthand import recipe_from_weights


def test_default_weights_of_the_command_line() -> None:
    models = [("a", None), ("b", None), ("c", 0.5)]
    assert weights_of(recipe_from_weights("linear", models).slices[0]) == [1 / 3, 1 / 3, 0.5]
    assert weights_of(recipe_from_weights("ties", models).slices[0]) == [1.0, 1.0, 0.5]
    recipe = recipe_from_weights("ties", models, {"density": 0.5, "lambda": None}, space="delta", rank=None, seed=3)
    assert (recipe.parameters, recipe.space, recipe.seed) == ({"density": 0.5}, "delta", 3)


def weights_of(part: Slice) -> list[float]:
    return [source.parameters["weight"] for source in part.sources]


@pytest.mark.parametrize(
    ("weights", "t", "expected"), [((1, 3), None, 0.75), ((None, 3), None, 0.75), ((None, None), 0.2, 0.2)]
)
def test_slerp_weights_are_a_point_between(
    weights: tuple[float | None, float | None], t: float | None, expected: float
) -> None:
    recipe = recipe_from_weights("slerp", list(zip("ab", weights, strict=True)), {"t": t})
    assert recipe.parameters == {"t": expected}
    assert recipe.slices[0].sources == (Source("a"), Source("b"))


def test_slerp_weights_that_give_no_point() -> None:
    with pytest.raises(ParameterError, match=r"^slerp takes either t or weights, not both"):
        recipe_from_weights("slerp", [("a", 1), ("b", 1)], {"t": 0.5})
    with pytest.raises(ParameterError, match=r"^The weights sum to 0, so they give no point"):
        recipe_from_weights("slerp", [("a", 1), ("b", -1)])
    with pytest.raises(ProblemsError, match=r"^t must be in \[0, 1\], got 1\.5\.$"):
        recipe_from_weights("slerp", [("a", -1), ("b", 3)])

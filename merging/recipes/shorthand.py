"""A recipe from a method and a list of adapters with weights, with the defaults of the command line and the app."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medley.errors import ParameterError
from merging import METHODS
from merging.recipes.parse import parse_recipe
from merging.recipes.recipe import Recipe


def recipe_from_weights(
    method: str,
    models: Sequence[tuple[str | Path, float | None]],
    parameters: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Recipe:
    """The recipe that merges these adapters.

    A weight that is not given is 1/n for linear and 1 elsewhere. For slerp, weights a and b mean t = b/(a+b); with
    neither weights nor t it is halfway.

    Args:
        method: a name in METHODS.
        models: (folder, weight or None) per adapter.
        parameters: the method's parameters; `density` and other per-adapter ones then hold for all.
        keys: further keys of a recipe, for example space="core", rank="energy:0.99", seed=1; None is left out.

    Raises:
        ParameterError: slerp is given both t and weights, or weights that sum to zero; a weight where there is none.
        ProblemsError: what parse_recipe finds.
    """
    parameters = {name: value for name, value in (parameters or {}).items() if value is not None}
    is_weighted = method not in METHODS or METHODS[method].is_weighted
    if method == "slerp":
        parameters["t"] = _slerp_t([weight for _, weight in models], parameters.get("t"))
    elif not is_weighted and any(weight is not None for _, weight in models):
        raise ParameterError(f"{method} finds its weights itself. Leave the weights out.")
    default = 1 / len(models) if method == "linear" and models else 1.0
    sources = [
        {"model": str(model), "parameters": {"weight": default if weight is None else weight} if is_weighted else {}}
        for model, weight in models
    ]
    settings = {key: value for key, value in keys.items() if value is not None}
    return parse_recipe({"merge_method": method, "models": sources, "parameters": parameters, **settings})


def _slerp_t(weights: Sequence[float | None], t: float | None) -> float:
    if all(weight is None for weight in weights):
        return 0.5 if t is None else t
    if t is not None:
        raise ParameterError("slerp takes either t or weights, not both: with weights a and b, t is b/(a+b).")
    numbers = [1.0 if weight is None else weight for weight in weights]
    if sum(numbers) == 0:
        raise ParameterError("The weights sum to 0, so they give no point between the two adapters. Change one.")
    return numbers[-1] / sum(numbers)

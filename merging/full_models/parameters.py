"""The parameters of a full-model recipe against mergekit's method: known, in range, in place, none missing."""

from collections.abc import Mapping
from typing import Any

from merging.full_models.methods import FullMethod
from merging.full_models.recipe import FullPart, FullRecipe
from merging.method import spread_problem
from merging.plan import SMALLEST_DIVISOR
from merging.recipes.placed_settings import settings_problems, source_problems
from merging.recipes.reference import Reference


def full_parameter_problems(recipe: FullRecipe) -> list[str]:
    """Everything that is wrong with the parameters and the number of models, one sentence each."""
    problems: list[str] = []
    for part in recipe.parts():
        for parameters in part.settings:
            problems += settings_problems(parameters, recipe.method)
        for source in part.sources:
            problems += source_problems(source.parameters, recipe.method, f"'{source.model.text}': ")
        problems += _input_problems(part, recipe.method)
        problems += _missing_problems(part, recipe.method)
        problems += _divisor_problems(part, recipe.method) + _spread_problems(part, recipe.method)
    return list(dict.fromkeys(problems))


def _input_problems(part: FullPart, method: FullMethod) -> list[str]:
    """How many models there are, and whether the base is among them."""
    models = _models(part)
    twice = next((each.text for index, each in enumerate(models) if each in models[:index]), None)
    if twice is not None:
        return [f"{part.where} names '{twice}' twice."]
    base = part.base_model
    if method.base == "required" and base is None:
        return [f"{method.name} needs base_model: the model that the others are compared with."]
    if part.has_layers and method.base != "ignored" and base is not None and base not in models:
        return [f"{part.where}: its sources must name the base model '{base.text}' too, with its layer_range."]
    count = len(models) + _is_added(part)
    others = count - (base is not None and method.base != "ignored")
    more = "models besides the base"
    return [
        *_count_problems(method.name, "models", count, method.min_models, method.max_models, part.where),
        *_count_problems(method.name, more, others, method.min_others, method.max_others, part.where),
    ]


def _is_added(part: FullPart) -> bool:
    """Whether mergekit adds the base to the models itself; it does so for every method, if no layers are named."""
    return part.base_model is not None and not part.has_layers and part.base_model not in _models(part)


def _models(part: FullPart) -> list[Reference]:
    return [source.model for source in part.sources]


def _count_problems(name: str, what: str, count: int, least: int, most: int | None, where: str) -> list[str]:
    if least <= count and (most is None or count <= most):
        return []
    wanted = f"exactly {least}" if least == most else f"at least {least}" if count < least else f"at most {most}"
    return [f"{name} merges {wanted} {what}, but {where} has {count}."]


def _missing_problems(part: FullPart, method: FullMethod) -> list[str]:
    problems = []
    for parameter in method.parameters:
        if not parameter.is_required or any(parameter.name in settings for settings in part.settings):
            continue
        if parameter.scope == "global":
            problems.append(f"{method.name} needs the parameter {parameter.name}. {parameter.help}")
            continue
        for source in part.sources:
            is_counted = method.is_base_weighted or source.model != part.base_model
            if is_counted and parameter.name not in source.parameters:
                problems.append(f"'{source.model.text}' has no {parameter.name}, which {method.name} needs.")
        if method.is_base_weighted and part.base_model is not None and _is_added(part):
            problems.append(
                f"'{part.base_model.text}' is merged too, because it is the base_model, and has no {parameter.name}. "
                f"List it among the models; {parameter.name}: 0 leaves it out."
            )
    return problems


def _divisor_problems(part: FullPart, method: FullMethod) -> list[str]:
    """Weights that sum to zero, where the method divides by their sum; of those that are plain numbers."""
    if not method.divides_by_weights or not part.sources:
        return []
    switch = next(each for each in method.parameters if each.name.startswith("normalize"))
    counted = [each for each in part.sources if method.is_base_weighted or each.model != part.base_model]
    weights = [_plain_value("weight", None, each.parameters, *part.settings) for each in counted]
    is_divided = _plain_value(switch.name, switch.default, *part.settings) is True
    if not is_divided or None in weights or abs(sum(weights)) >= SMALLEST_DIVISOR:
        return []
    return [
        f"The weights sum to 0 and {method.name} divides by their sum. Change a weight or set {switch.name}: false."
    ]


def _spread_problems(part: FullPart, method: FullMethod) -> list[str]:
    """Chances of DELLA that would leave the range from 0 to 1, where they are plain numbers."""
    names = ("density", "epsilon")
    if not method.name.startswith("della"):
        return []
    pairs = [
        [_plain_value(name, method.parameter(name).default, each.parameters, *part.settings) for name in names]
        for each in part.sources
        if each.model != part.base_model
    ]
    found = [spread_problem(*pair) for pair in pairs if None not in pair]
    return [problem for problem in found if problem]


def _plain_value(name: str, default: Any, *places: Mapping[str, Any]) -> Any:
    """What the first of the places that names the parameter says, or the default; None for a gradient or filters."""
    value = next((place[name] for place in places if name in place), default)
    return value if isinstance(value, (int, float)) else None

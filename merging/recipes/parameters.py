"""The parameters of a recipe against its method: known, in range, at the right place, and none missing."""

from typing import Any

from merging.method import DENSITY
from merging.recipes.placed_settings import settings_problems, source_problems
from merging.recipes.recipe import Recipe, Slice

LARGEST = 1e6  # squares of larger weights leave the range of float32, and singular values then say nothing
WITHOUT_EFFECT = ("int8_mask",)  # saves memory in mergekit and changes no result
LIMITS: dict[str, Any] = {"largest": LARGEST, "idle": WITHOUT_EFFECT}


def parameter_problems(recipe: Recipe) -> list[str]:
    """Everything that is wrong with the parameters and the number of inputs, one sentence each."""
    problems = [
        problem for shared in recipe.shared_parameters for problem in settings_problems(shared, recipe.method, **LIMITS)
    ]
    problems += _count_problems(recipe)
    problems += _density_problems(recipe)
    for each in recipe.slices:
        problems += settings_problems(each.parameters, recipe.method, **LIMITS)
        for source in each.sources:
            problems += source_problems(source.parameters, recipe.method, f"'{source.model}': ", **LIMITS)
        problems += _missing_problems(recipe, each)
    return problems


def _count_problems(recipe: Recipe) -> list[str]:
    method, count = recipe.method, len(recipe.models)
    if recipe.slices and method.max_models is not None and method.min_models == method.max_models != count:
        return [f"{method.name} merges exactly {method.max_models} adapters, got {count}."]
    if recipe.slices and count < method.min_models:
        return [f"{method.name} needs at least {method.min_models} adapter{'s'[: method.min_models > 1]}, got {count}."]
    return []


def _density_problems(recipe: Recipe) -> list[str]:
    if recipe.variant != "paper" or not recipe.method.paper_needs_one_density:
        return []
    found: dict[str, list[Any]] = {}
    for part in recipe.slices:
        for source in part.sources:
            places = (source.parameters, part.parameters, *recipe.shared_parameters)
            given = [place["density"] for place in places if "density" in place]
            found.setdefault(source.model, []).append(given[0] if given else DENSITY.default)
    if all(not isinstance(first, (list, dict)) and {first, *others} == {first} for first, *others in found.values()):
        return []
    return [f"{recipe.merge_method} in variant paper trims whole adapters, so density must be one number per adapter."]


def _missing_problems(recipe: Recipe, part: Slice) -> list[str]:
    problems = []
    for parameter in recipe.method.parameters:
        shared = (part.parameters, *recipe.shared_parameters)
        if not parameter.is_required or any(parameter.name in parameters for parameters in shared):
            continue
        if parameter.scope == "global":
            problems.append(f"{recipe.merge_method} needs the parameter {parameter.name}. {parameter.help}")
            continue
        for source in part.sources:
            is_counted = not recipe.is_base(source.model) or recipe.method.counts_base
            if is_counted and parameter.name not in source.parameters:
                problems.append(f"'{source.model}' has no {parameter.name}, which {recipe.merge_method} needs.")
    return problems

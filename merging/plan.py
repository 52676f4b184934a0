"""What is done to each module: which adapters meet there, with which weights and parameters. From headers alone.

Gradients and filters of the recipe are resolved here, with mergekit's precedence: a source's own parameters, its
slice's, the recipe's, the method's default.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medley.lm.adapter_file import AdapterFile
from merging.method import Parameter, spread_problem
from merging.recipes.recipe import Recipe, Slice, Source
from merging.recipes.settings import value_at

LAYER = re.compile(r"(.*?)\.(\d+)(?:\.|$)")
SMALLEST_DIVISOR = 1e-8


@dataclass(frozen=True)
class ModulePlan:
    """One module's inputs.

    Attributes:
        name: as in the base model.
        out_features, in_features: the shape of its deltas.
        inputs: per source, the index of the adapter in `Recipe.models`; None for one that has no weights here
            (it does not touch the module, or is the base model): a zero delta.
        weights: per source; empty for methods without weights.
        per_model: the other per-adapter parameters by argument name, one value per source.
        settings: the global parameters by argument name.
    """

    name: str
    out_features: int
    in_features: int
    inputs: tuple[int | None, ...]
    weights: tuple[float, ...]
    per_model: Mapping[str, tuple[Any, ...]]
    settings: Mapping[str, Any]

    def rank_sum(self, adapters: Sequence[AdapterFile]) -> int:
        """Σ rᵢ over the adapters that touch the module."""
        return sum(adapters[index].modules[self.name].rank for index in self.inputs if index is not None)


def plan_modules(recipe: Recipe, adapters: Sequence[AdapterFile]) -> tuple[list[ModulePlan], list[str]]:
    """Every module that an input touches, in the order of the names, and what stands against the plan.

    Args:
        recipe: parsed.
        adapters: opened, in the order of `recipe.models`; their shapes agree.
    """
    names = sorted({name for adapter in adapters for name in adapter.modules})
    layer_counts = _layer_counts(names)
    plans, missing, outside = [], [], []
    for name in names:
        part, depth = _place(recipe, name, layer_counts)
        if part is None:
            outside.append(name)
            continue
        plan = _plan_module(recipe, adapters, part, name, depth, missing)
        if plan is not None and any(index is not None for index in plan.inputs):
            plans.append(plan)
    problems = _missing_problems(missing)
    if outside:
        problems.append(f"No slice covers {_some(outside)}. Give the slices all layers; an adapter cannot remove any.")
    return plans, problems + _divisor_problems(recipe, plans) + _spread_problems(plans)


def _layer_counts(names: Sequence[str]) -> dict[str, int]:
    """How many layers each stack of layers has, as far as the adapters reach."""
    counts: dict[str, int] = {}
    for name in names:
        match = LAYER.match(name)
        if match:
            counts[match[1]] = max(counts.get(match[1], 0), int(match[2]) + 1)
    return counts


def _place(recipe: Recipe, name: str, layer_counts: Mapping[str, int]) -> tuple[Slice | None, float]:
    """The slice that a module belongs to, and its depth in it: 0 at the first layer, 1 at the last."""
    match = LAYER.match(name)
    if match is None:  # embeddings are planned before the layers, norm and head after them; all at depth 0
        return recipe.slices[0 if "embed" in name else -1], 0.0
    layer = int(match[2])
    for part in recipe.slices:
        start, end = part.sources[0].layer_range or (0, layer_counts[match[1]])
        if start <= layer < end:
            return part, (layer - start) / (end - start - 1) if end - start > 1 else 1.0
    return None, 0.0


def _plan_module(
    recipe: Recipe,
    adapters: Sequence[AdapterFile],
    part: Slice,
    name: str,
    depth: float,
    missing: list[tuple[str, str, str]],
) -> ModulePlan | None:
    """The plan of one module, or None after a note in `missing` where a required parameter has no value."""
    tensor_name, method, models = name + ".weight", recipe.method, recipe.models
    sources = _ordered(recipe, part)
    per_model: dict[str, list[Any]] = {}
    for parameter in (each for each in method.parameters if each.scope == "model"):
        chains = [(source.parameters, part.parameters, *recipe.shared_parameters) for source in sources]
        values = [_resolve(parameter, chain, tensor_name, depth) for chain in chains]
        missing += [(source.model, parameter.name, name) for source, value in _pairs(sources, values) if value is None]
        per_model[parameter.argument] = values
    settings = {}
    for parameter in (each for each in method.parameters if each.scope == "global"):
        value = _resolve(parameter, (part.parameters, *recipe.shared_parameters), tensor_name, depth)
        if value is None:
            missing.append((recipe.merge_method, parameter.name, name))
        settings[parameter.argument] = value
    if missing and missing[-1][2] == name:
        return None
    indices = [None if recipe.is_base(source.model) else models.index(source.model) for source in sources]
    inputs = [index if index is not None and name in adapters[index].modules else None for index in indices]
    weights = per_model.pop("weight", [])
    shape = next(adapter.modules[name] for adapter in adapters if name in adapter.modules)
    lists = {argument: tuple(values) for argument, values in per_model.items()}
    return ModulePlan(name, shape.out_features, shape.in_features, tuple(inputs), tuple(weights), lists, settings)


def _ordered(recipe: Recipe, part: Slice) -> list[Source]:
    """The sources that count: slerp's base first, and the base model only where it counts as an input."""
    if recipe.method.is_ordered:
        return sorted(part.sources, key=lambda source: source.model != recipe.base_model)
    return [each for each in part.sources if recipe.method.counts_base or not recipe.is_base(each.model)]


def _resolve(parameter: Parameter, chain: tuple[Mapping[str, Any], ...], tensor_name: str, depth: float) -> Any:
    for parameters in chain:
        if parameter.name in parameters:
            value = value_at(parameter, parameters[parameter.name], tensor_name, depth)
            if value is not None:
                return value
    return parameter.default


def _pairs(sources: Sequence[Source], values: Sequence[Any]) -> list[tuple[Source, Any]]:
    return list(zip(sources, values, strict=True))


def _missing_problems(missing: Sequence[tuple[str, str, str]]) -> list[str]:
    problems = []
    for owner, parameter in dict.fromkeys((owner, parameter) for owner, parameter, _ in missing):
        names = [name for each_owner, each, name in missing if (each_owner, each) == (owner, parameter)]
        problems.append(f"'{owner}' has no {parameter} in {_some(names)}: no filter matches there. Add one with '*'.")
    return problems


def _divisor_problems(recipe: Recipe, plans: Sequence[ModulePlan]) -> list[str]:
    """Weights that sum to zero, where the method divides by their sum."""
    if not recipe.method.divides_by_weights:
        return []
    switch = recipe.method.division_switch
    names = [
        plan.name for plan in plans if plan.settings.get(switch, True) and abs(sum(plan.weights)) < SMALLEST_DIVISOR
    ]
    if not names:
        return []
    where = "" if len(names) == len(plans) else f" in {_some(names)}"
    advice = f"Change a weight or set {switch}: false." if switch else "Change a weight."
    return [f"The weights sum to 0{where} and {recipe.merge_method} divides by their sum. {advice}"]


def _spread_problems(plans: Sequence[ModulePlan]) -> list[str]:
    """Chances of DELLA that would leave the range from 0 to 1, each once."""
    found = []
    for plan in plans:
        pairs = zip(plan.per_model.get("density", ()), plan.per_model.get("epsilon", ()), strict=False)
        found += [spread_problem(density, epsilon) for density, epsilon in pairs]
    return list(dict.fromkeys(problem for problem in found if problem))


def _some(names: Sequence[str]) -> str:
    """One name, or the first of many and how many there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"

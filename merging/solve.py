"""One module merged: its plan and its factors in, the factors of the result and their error out. No files here."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from merging.core_space import core_space
from merging.lowrank import (
    Factors,
    Spectrum,
    distance,
    norm,
    randomized,
    rank_for_energy,
    rounding,
    stack,
    weighted_sum,
    written_error,
)
from merging.plan import ModulePlan
from merging.recipe import RankRule, Recipe
from merging.row_blocks import squared_distance, sum_of_squares

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Merged:
    """One module's result.

    Attributes:
        factors: (B, A) in the dtype of the file, scaling in B; rank 1 and zero where everything cancelled.
        rank: of the factors; 0 where everything cancelled.
        energy_kept: the share of ‖ΔW‖² that the cut to this rank kept.
        error: ‖ΔW − B·A‖ / ‖ΔW‖ with ΔW as the method defines it, cut and cast included; 0 for a zero delta.
        norm: ‖ΔW‖.
        tied: axes of the core space that are a convention; see core_space.py.
    """

    factors: Factors
    rank: int
    energy_kept: float
    error: float
    norm: float
    tied: int = 0


@dataclass(frozen=True)
class Inputs:
    """What of a plan really enters the sum.

    Attributes:
        factors: scaled (B, A) per adapter, rank 0 for a zero delta.
        weights: one each, or empty.
        per_model: the other per-adapter parameters.
        scales: of each adapter's factors; only `factor` needs them apart.
    """

    factors: Sequence[Factors]
    weights: Sequence[float]
    per_model: Mapping[str, Sequence[Any]]
    scales: Sequence[float]

    def without_zero_weights(self) -> "Inputs":
        """The same without the adapters whose weight is 0, so that they draw no random numbers and elect no sign."""
        if not self.weights:
            return self
        kept = [index for index, weight in enumerate(self.weights) if weight != 0]
        return Inputs(
            [self.factors[index] for index in kept],
            [self.weights[index] for index in kept],
            {name: [values[index] for index in kept] for name, values in self.per_model.items()},
            [self.scales[index] for index in kept],
        )


def merge_module(recipe: Recipe, plan: ModulePlan, inputs: Inputs, dtype: torch.dtype) -> Merged:
    """The result of one module, by the recipe's method.

    Args:
        recipe: says method, variant, space, rank and seed.
        plan: the module's settings.
        inputs: its adapters.
        dtype: of the result; everything before is float32, and float64 where it is R x R.
    """
    family = recipe.method.family
    if family in ("concat", "factor"):
        return _merge_factors(recipe, plan, inputs, dtype)
    if family == "exact":
        return _cut(recipe.rank, weighted_sum(inputs.factors, sum_coefficients(recipe, plan, inputs)), dtype)
    rule = _rule(recipe, plan, inputs)
    if not rule.inputs.factors:
        return _cut(recipe.rank, weighted_sum(inputs.factors, [0.0] * len(inputs.factors)), dtype)
    if recipe.space == "delta":
        return _merge_dense(rule, dtype)
    spectrum, tied = _core_spectrum(rule)
    return _cut(recipe.rank, spectrum, dtype, tied=tied)


def module_energies(recipe: Recipe, plan: ModulePlan, inputs: Inputs) -> list[float]:
    """σ² of the module's result in falling order, before any cut; for rules in space delta those of the merged core."""
    if recipe.method.family == "elementwise":
        rule = _rule(recipe, plan, inputs)
        spectrum = _core_spectrum(rule)[0] if rule.inputs.factors else None
    else:
        is_sum = recipe.method.family == "exact"
        spectrum = weighted_sum(inputs.factors, sum_coefficients(recipe, plan, inputs) if is_sum else inputs.weights)
    return spectrum.values.square().tolist() if spectrum else []


def sum_coefficients(recipe: Recipe, plan: ModulePlan, inputs: Inputs) -> list[float]:
    """What an exact method multiplies each delta with."""
    weights = {"weights": inputs.weights} if recipe.method.is_weighted else {}
    return recipe.method.function(recipe.variant)(inputs.factors, **weights, **inputs.per_model, **plan.settings)


def module_seed(seed: int, module: str) -> int:
    """A seed of its own for each module, so that neither order nor parallel work changes the result."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{module}".encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class _ElementwiseRule:
    recipe: Recipe
    plan: ModulePlan
    inputs: Inputs
    generator: torch.Generator

    def __call__(self, deltas: Tensor) -> Tensor:
        function = self.recipe.method.function(self.recipe.variant)
        arguments = {**self.inputs.per_model, **self.plan.settings}
        return function(deltas, weights=self.inputs.weights, generator=self.generator, **arguments)


def _rule(recipe: Recipe, plan: ModulePlan, inputs: Inputs) -> _ElementwiseRule:
    generator = torch.Generator().manual_seed(module_seed(recipe.seed, plan.name))
    return _ElementwiseRule(recipe, plan, inputs.without_zero_weights(), generator)


def space_stack(recipe: Recipe, factors: Sequence[Factors]) -> Tensor:
    """The deltas of one module in the recipe's space, (n, rows, columns) float32."""
    if recipe.space == "core":
        space = core_space(factors)
        return torch.stack([space.project(delta) for delta in factors])
    (b, _), (_, a) = factors[0], factors[-1]
    deltas = torch.empty(len(factors), b.shape[0], a.shape[1])
    for delta, (b, a) in zip(deltas, factors, strict=True):
        torch.matmul(b, a, out=delta)
    return deltas


def _core_spectrum(rule: _ElementwiseRule) -> tuple[Spectrum, int]:
    """The rule's result in the core space, and how many of its axes are a convention."""
    space = core_space(rule.inputs.factors)
    merged = rule(torch.stack([space.project(delta) for delta in rule.inputs.factors]))
    return space.lift(merged), space.tied


def _merge_dense(rule: _ElementwiseRule, dtype: torch.dtype) -> Merged:
    merged = rule(space_stack(rule.recipe, rule.inputs.factors))
    total = sum_of_squares(merged)
    spectrum = _dense_spectrum(rule, merged, total)
    b, a = (factor.to(dtype) for factor in spectrum.factors(spectrum.rank))
    kept = float(spectrum.values.square().sum()) / total if total else 1.0
    error = (squared_distance(merged, b.float(), a.float()) / total) ** 0.5 if total else 0.0
    return Merged(_at_least_rank_one(b, a), spectrum.rank, min(1.0, kept), error, total**0.5)


def _dense_spectrum(rule: _ElementwiseRule, merged: Tensor, total: float) -> Spectrum:
    """As many singular values as the rank rule wants; for `energy:x` twice as many until the share is reached."""
    wanted = rule.recipe.rank
    most = min(merged.shape)
    rank = min(most, int(wanted.value) if wanted.kind == "at_most" else sum(b.shape[1] for b, _ in rule.inputs.factors))
    guess = torch.cat([a for _, a in rule.inputs.factors]).T  # where the deltas live, and so most of the result
    spectrum = randomized(merged, rank, rule.generator, start=guess)
    if wanted.kind != "energy":
        return spectrum
    while float(spectrum.values.square().sum()) < wanted.value * total and rank < most:
        rank = min(most, 2 * rank)
        spectrum = randomized(merged, rank, rule.generator, start=guess)
    needed = rank_for_energy(spectrum.values, wanted.value, total)
    return spectrum.cut(needed)


def _merge_factors(recipe: Recipe, plan: ModulePlan, inputs: Inputs, dtype: torch.dtype) -> Merged:
    """`concat` is exact but for the cast; `factor` is compared with the sum that it stands for."""
    touching = [index for index, (b, _) in enumerate(inputs.factors) if b.shape[1]]
    factors, weights = [inputs.factors[index] for index in touching], [inputs.weights[index] for index in touching]
    exact = stack(factors, weights)
    if recipe.method.family == "factor":
        scales = [inputs.scales[index] for index in touching]
        factors = [(b / scale, a) for (b, a), scale in zip(factors, scales, strict=True)]
        weights = [weight * scale for weight, scale in zip(weights, scales, strict=True)]
    b, a = recipe.method.function()(factors, weights=weights)
    b, a = b.to(dtype), a.to(dtype)
    size = norm(exact)
    moved = distance if recipe.method.family == "factor" else rounding
    return Merged((b, a), b.shape[1], 1.0, moved(exact, (b, a)) / size if size else 0.0, size)


def _cut(rule: RankRule, spectrum: Spectrum, dtype: torch.dtype, *, tied: int = 0) -> Merged:
    """The spectrum cut to the rank rule's rank and cast."""
    rank = spectrum.rank
    if rule.kind == "at_most":
        rank = min(rank, int(rule.value))
    elif rule.kind == "energy" and rank:
        rank = rank_for_energy(spectrum.values, rule.value)
    cut = spectrum.factors(rank)
    b, a = (factor.to(dtype) for factor in cut)
    size = float(spectrum.values.norm())
    error = written_error(spectrum, cut, (b, a)) / size if size else 0.0
    return Merged(_at_least_rank_one(b, a), rank, spectrum.energy(rank), error, size, tied)


def _at_least_rank_one(b: Tensor, a: Tensor) -> Factors:
    """peft refuses rank 0, so a zero delta is written as one zero column and one zero row."""
    return (b, a) if b.shape[1] else (b.new_zeros(b.shape[0], 1), a.new_zeros(1, a.shape[1]))

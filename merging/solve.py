"""One module merged: its plan and its factors in, the factors of the result and their error out. No files here."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from merging.numerics.coefficients import Coefficient
from merging.numerics.lowrank import (
    Factors,
    Spectrum,
    norm,
    randomized,
    rank_for_energy,
    stack,
    weighted_sum,
)
from merging.numerics.row_blocks import squared_distance, sum_of_squares
from merging.numerics.written import distance, norm_and_rounding, written_error
from merging.plan import ModulePlan
from merging.recipes.recipe import RankRule, Recipe
from merging.report import ModuleReport
from merging.spaces.chosen import shared_space, space_stack
from merging.spaces.compressed import energy_held
from merging.spaces.shared import SharedSpace

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Merged:
    """One module's result.

    Attributes:
        factors: (B, A) in the dtype of the file, scaling in B; rank 1 and zero where everything cancelled.
        rank: of the factors; 0 where everything cancelled.
        energy_kept: the share of ‖ΔW‖² that the cut to this rank kept; in space compressed, the share of the adapters'
            Σ‖ΔWᵢ‖² that the shared axes hold.
        error: ‖ΔW − B·A‖ / ‖ΔW‖ with ΔW as the method defines it, cut and cast included; 0 for a zero delta. A rule
            that looks at entries defines it in its space; a sum defines it without compression.
        norm: ‖ΔW‖.
        tied: axes of the shared space that are a convention; see spaces/shared.py.
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
        coefficients = sum_coefficients(recipe, plan, inputs)
        if recipe.named_space == "compressed":
            return _merge_compressed_sum(recipe, inputs.factors, coefficients, dtype)
        return _cut(recipe.rank, weighted_sum(inputs.factors, coefficients), dtype)
    rule = _rule(recipe, plan, inputs)
    if not rule.inputs.factors:
        return _cut(recipe.rank, weighted_sum(inputs.factors, [0.0] * len(inputs.factors)), dtype)
    if recipe.space == "delta":
        return _merge_dense(rule, dtype)
    spectrum, space = _shared_spectrum(rule)
    merged = _cut(recipe.rank, spectrum, dtype, tied=space.tied if family == "elementwise" else 0)
    if recipe.space == "compressed":
        merged = replace(merged, energy_kept=energy_held(space, rule.inputs.factors))
    return merged


def module_energies(recipe: Recipe, plan: ModulePlan, inputs: Inputs) -> list[float]:
    """σ² of the module's result in falling order, before any cut; for rules in space delta those in the core space."""
    if recipe.method.family in ("elementwise", "spectral"):
        rule = _rule(recipe, plan, inputs)
        spectrum = _shared_spectrum(rule)[0] if rule.inputs.factors else None
    elif recipe.method.family == "exact":
        coefficients = sum_coefficients(recipe, plan, inputs)
        is_compressed = recipe.named_space == "compressed"
        spectrum = (
            _compressed_sum(recipe, inputs.factors, coefficients)[0]
            if is_compressed
            else weighted_sum(inputs.factors, coefficients)
        )
    elif recipe.method.family == "factor":
        spectrum = weighted_sum([_averaged(recipe, *_touching(inputs))], [1.0])
    else:
        spectrum = weighted_sum(inputs.factors, inputs.weights)
    return spectrum.values.square().tolist() if spectrum else []


def sum_coefficients(recipe: Recipe, plan: ModulePlan, inputs: Inputs) -> list[Coefficient]:
    """What an exact method multiplies each delta with."""
    weights = {"weights": inputs.weights} if recipe.method.is_weighted else {}
    return recipe.method.function(recipe.variant)(inputs.factors, **weights, **inputs.per_model, **plan.settings)


def module_seed(seed: int, module: str) -> int:
    """A seed of its own for each module, so that neither order nor parallel work changes the result."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{module}".encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class _Rule:
    """A method's `merge` with everything but the deltas."""

    recipe: Recipe
    plan: ModulePlan
    inputs: Inputs
    generator: torch.Generator

    def __call__(self, deltas: Tensor) -> Tensor:
        """The merged delta; spectral methods see the deltas in float64, elementwise ones in float32."""
        function = self.recipe.method.function(self.recipe.variant)
        arguments = {"weights": self.inputs.weights, **self.inputs.per_model, **self.plan.settings}
        if self.recipe.method.family == "spectral":
            return function(deltas, **arguments)
        return function(deltas.float(), generator=self.generator, **arguments)


def _rule(recipe: Recipe, plan: ModulePlan, inputs: Inputs) -> _Rule:
    generator = torch.Generator().manual_seed(module_seed(recipe.seed, plan.name))
    return _Rule(recipe, plan, inputs.without_zero_weights(), generator)


def _shared_spectrum(rule: _Rule) -> tuple[Spectrum, SharedSpace]:
    """The rule's result in its shared space, and that space."""
    space = shared_space(rule.recipe, rule.inputs.factors)
    return space.lift(rule(space.deltas)), space


def _compressed_sum(
    recipe: Recipe, factors: Sequence[Factors], coefficients: Sequence[Coefficient]
) -> tuple[Spectrum, float]:
    """The sum of the compressed deltas, and the share of their energy that compressing them kept."""
    taken = [index for index, by in enumerate(coefficients) if by != 0]
    if not taken:
        return weighted_sum(factors, coefficients), 1.0
    parts = [factors[index] for index in taken]
    space = shared_space(recipe, parts)
    weighted = torch.tensor([coefficients[index] for index in taken], dtype=torch.float64)[:, None, None] * space.deltas
    scale = float(torch.linalg.matrix_norm(weighted).max())
    return space.lift(weighted.sum(0), scale=scale), energy_held(space, parts)


def _merge_compressed_sum(
    recipe: Recipe, factors: Sequence[Factors], coefficients: Sequence[Coefficient], dtype: torch.dtype
) -> Merged:
    spectrum, held = _compressed_sum(recipe, factors, coefficients)
    b, a = (factor.to(dtype) for factor in spectrum.factors(spectrum.rank))
    exact = weighted_sum(factors, coefficients)
    size = float(exact.values.norm())
    error = distance(exact.factors(exact.rank), (b, a)) / size if size else 0.0
    return Merged(_at_least_rank_one(b, a), spectrum.rank, held, error, size)


def _merge_dense(rule: _Rule, dtype: torch.dtype) -> Merged:
    merged = rule(space_stack(rule.recipe, rule.inputs.factors))
    total = sum_of_squares(merged)
    spectrum = _dense_spectrum(rule, merged, total)
    b, a = (factor.to(dtype) for factor in spectrum.factors(spectrum.rank))
    kept = float(spectrum.values.square().sum()) / total if total else 1.0
    error = (squared_distance(merged, b.float(), a.float()) / total) ** 0.5 if total else 0.0
    return Merged(_at_least_rank_one(b, a), spectrum.rank, min(1.0, kept), error, total**0.5)


def _dense_spectrum(rule: _Rule, merged: Tensor, total: float) -> Spectrum:
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
    factors, weights, scales = _touching(inputs)
    is_approximate = recipe.method.family == "factor"
    exact = stack(factors, weights) if is_approximate or dtype == torch.float32 else None
    if is_approximate:
        b, a = _averaged(recipe, factors, weights, scales)
    else:
        b, a = recipe.method.function()(factors, weights=weights)
    exact = exact or (b, a)  # beside 16 bits, rounding in float32 is nothing
    b, a = b.to(dtype), a.to(dtype)
    size, moved = (norm(exact), distance(exact, (b, a))) if is_approximate else norm_and_rounding(exact, (b, a))
    return Merged((b, a), b.shape[1], 1.0, moved / size if size else 0.0, size)


def _touching(inputs: Inputs) -> tuple[list[Factors], list[float], list[float]]:
    """Factors, weights and scales of the adapters that change the module."""
    touching = [index for index, (b, _) in enumerate(inputs.factors) if b.shape[1]]
    return tuple([values[index] for index in touching] for values in (inputs.factors, inputs.weights, inputs.scales))


def _averaged(recipe: Recipe, factors: Sequence[Factors], weights: Sequence[float], scales: Sequence[float]) -> Factors:
    """What `factor` makes of scaled factors: their scales go to the weights, as in peft."""
    plain = [(b / scale, a) for (b, a), scale in zip(factors, scales, strict=True)]
    scaled = [weight * scale for weight, scale in zip(weights, scales, strict=True)]
    return recipe.method.function()(plain, weights=scaled)


def _cut(rule: RankRule, spectrum: Spectrum, dtype: torch.dtype, *, tied: int = 0) -> Merged:
    (b, a), cut = cut_spectrum(rule, spectrum, dtype)
    return Merged(_at_least_rank_one(b, a), cut.rank, cut.energy_kept, cut.error, cut.norm, tied)


def cut_spectrum(rule: RankRule, spectrum: Spectrum, dtype: torch.dtype) -> tuple[Factors, ModuleReport]:
    """The factors of a spectrum cut to the rank rule's rank and cast, and how far they are off."""
    rank = spectrum.rank
    if rule.kind == "at_most":
        rank = min(rank, int(rule.value))
    elif rule.kind == "energy" and rank:
        rank = rank_for_energy(spectrum.values, rule.value)
    cut = spectrum.factors(rank)
    b, a = (factor.to(dtype) for factor in cut)
    size = float(spectrum.values.norm())
    error = written_error(spectrum, cut, (b, a)) / size if size else 0.0
    return (b, a), ModuleReport(rank, spectrum.energy(rank), error, size)


def _at_least_rank_one(b: Tensor, a: Tensor) -> Factors:
    """peft refuses rank 0, so a zero delta is written as one zero column and one zero row."""
    return (b, a) if b.shape[1] else (b.new_zeros(b.shape[0], 1), a.new_zeros(1, a.shape[1]))

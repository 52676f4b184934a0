"""A dense delta as two factors: cut to a rank, cast, and the error of exactly what is written."""

import math

import torch
from torch import Tensor

from medley.errors import BaseModelError
from medley.lm.adapter_tensors import Factors
from merging.numerics.adaptive_svd import for_energy, largest, squared_norm
from merging.recipes.recipe import RankRule
from merging.report import ModuleReport
from merging.solve import module_seed


def factor_dense(
    module: str, delta: Tensor, rule: RankRule, dtype: torch.dtype, *, most: int, seed: int
) -> tuple[Factors, ModuleReport]:
    """The best factors (B, A) of a dense delta in `dtype`, and how far B·A is from it.

    Args:
        module: its name; with the seed it decides the random projection.
        delta: (m, n) float32; its memory is used for the residual.
        rule: "at_most" or "energy".
        most: the largest rank that "energy" may take.

    Raises:
        BaseModelError: the delta is not finite.
    """
    total = squared_norm(delta)
    if not math.isfinite(total):
        raise BaseModelError(f"{module} holds NaN or Infinity in one of the models.")
    if not total:
        zero = delta.new_zeros(delta.shape[0], 0, dtype=dtype), delta.new_zeros(0, delta.shape[1], dtype=dtype)
        return zero, ModuleReport(0, 1.0, 0.0, 0.0)
    generator = torch.Generator().manual_seed(module_seed(seed, module))
    if rule.kind == "energy":
        spectrum = for_energy(delta, rule.value, most, generator, total=total)
    else:
        spectrum = largest(delta, min(int(rule.value), *delta.shape), generator, total=total)
    b, a = (factor.to(dtype) for factor in spectrum.factors(spectrum.rank))
    kept = min(1.0, float(spectrum.values.square().sum()) / total)
    error = (squared_norm(delta.addmm_(b.float(), a.float(), alpha=-1)) / total) ** 0.5
    return (b, a), ModuleReport(spectrum.rank, kept, error, total**0.5)

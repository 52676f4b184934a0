"""Model Stock: the mean of adapters, drawn back to the base as far as they disagree (Jang et al., arXiv:2403.19522).

It is a weighted sum of deltas whose numbers follow from their inner products, whole or row by row.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from medley.errors import ParameterError
from merging.numerics.coefficients import Coefficient, Factors, PerRow
from merging.numerics.lowrank import inner_product, row_products

SINGULAR = 1e-6  # 1 + (N−1)·cos below this has no finite ratio (mergekit's bound)


def coefficients(factors: Sequence[Factors], *, filter_wise: bool = False) -> list[Coefficient]:
    """t/N for each of the N adapters, t = N·c / (1 + (N−1)·c), c the mean cosine of all pairs.

    As in mergekit 0.1.5: a zero delta has cosine 0 to the others, c may be negative, and where 1 + (N−1)·c vanishes
    nothing is added to the base. There norms whose product is below 1e-6 shrink the cosine; here they do not.

    Args:
        factors: one (B, A) per adapter, two at least.
        filter_wise: one c and one t for each row of the delta (each output feature).

    Raises:
        ParameterError: fewer than two adapters.
    """
    count = len(factors)
    if count < 2:
        raise ParameterError(f"Model Stock compares adapters with each other and needs at least 2, got {count}.")
    products = row_products if filter_wise else _whole_product
    cosine = _mean_cosine(factors, products)
    divisor = 1 + (count - 1) * cosine
    is_singular = divisor.abs() < SINGULAR
    share = torch.where(is_singular, 0.0, cosine / torch.where(is_singular, 1.0, divisor))
    return [PerRow(share) if filter_wise else float(share)] * count


def _mean_cosine(factors: Sequence[Factors], products: Callable[[Factors, Factors], Tensor]) -> Tensor:
    """The mean over all pairs of adapters of the cosines of their rows, or of the whole deltas."""
    norms = [products(delta, delta).clamp(min=0).sqrt() for delta in factors]
    cosines = []
    for first, second in combinations(range(len(factors)), 2):
        size = norms[first] * norms[second]
        cosine = products(factors[first], factors[second]) / torch.where(size == 0, 1.0, size)
        cosines.append(cosine.clamp(-1, 1))
    return torch.stack(cosines).mean(0)


def _whole_product(first: Factors, second: Factors) -> Tensor:
    return torch.tensor(inner_product(first, second), dtype=torch.float64)

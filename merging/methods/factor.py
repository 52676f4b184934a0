"""peft's averaging of the factors, offered for comparison only: it is not the weighted sum of the deltas.

A* = Σ sgn(wᵢ)·√|wᵢ|·Aᵢ and B* = Σ √|wᵢ|·Bᵢ multiply out to the wanted Σ wᵢ·BᵢAᵢ plus cross terms ±√|wᵢwⱼ|·BᵢAⱼ (i ≠ j)
that nobody trained. On unrelated adapters the cross terms are as large as the sum itself. It also depends on the gauge:
(B·G, G⁻¹·A) is the same adapter, but merges to something else.
"""

import math
from collections.abc import Sequence

from medley.errors import IncompatibleError
from merging.numerics.lowrank import Factors


def merge_factors(factors: Sequence[Factors], *, weights: Sequence[float]) -> Factors:
    """The averaged factors (m, r) and (r, n), as peft's `combination_type="linear"` makes them.

    Args:
        factors: one unscaled (B, A) per adapter, of one rank.
        weights: one per adapter, already multiplied by its scaling; any sign.

    Raises:
        IncompatibleError: the ranks differ.
    """
    ranks = sorted({b.shape[1] for b, _ in factors})
    if len(ranks) > 1:
        raise IncompatibleError(f"factor averages adapters of one rank, got ranks {', '.join(map(str, ranks))}.")
    roots = [math.sqrt(abs(weight)) for weight in weights]
    b = sum(root * b for (b, _), root in zip(factors, roots, strict=True))
    a = sum(math.copysign(root, weight) * a for (_, a), root, weight in zip(factors, roots, weights, strict=True))
    return b, a

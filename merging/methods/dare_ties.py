"""DARE before TIES: drop entries at random, then elect signs (Yu et al. 2023, arXiv:2311.03099, section 4.3).

`merge` is mergekit's rule, `merge_paper` the paper's; they differ in the factor that makes up for what was dropped,
and in the election and the average, which follow the TIES of the same house (see ties.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.methods.dare_linear import l1_factors, random_masks, thinned
from merging.methods.ties import agreeing_sum, agreeing_sum_paper
from merging.numerics.row_blocks import over_rows


def merge(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator,
    density: Sequence[float],
    normalize: bool = False,
    rescale: bool = True,
    lambda_: float = 1.0,
) -> Tensor:
    """The merged delta (rows, cols) by mergekit 0.1.5's rule.

    Args:
        deltas: (n, rows, cols), one per adapter.
        weights: one per adapter; they count in the election.
        generator: draws what is dropped, one adapter after the other.
        density: the chance of each entry to stay, in (0, 1].
        normalize: divide by the sum of the weights of those that agree.
        rescale: scale what stays up to the old Σ|entries|.
        lambda_: multiplies the result.
    """
    masks = random_masks(deltas, density, generator)
    factors = l1_factors(deltas, masks) if rescale else [1.0] * len(weights)
    return over_rows(
        lambda rows, kept: lambda_ * agreeing_sum(thinned(rows, kept, factors), weights, normalize=normalize),
        deltas,
        masks,
    )


def merge_paper(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator,
    density: Sequence[float],
    normalize: bool = False,
    rescale: bool = True,
    lambda_: float = 1.0,
) -> Tensor:
    """The merged delta by the papers' rules: `rescale` divides by the density. Arguments as in `merge`."""
    masks = random_masks(deltas, density, generator)
    factors = [1 / share if rescale else 1.0 for share in density]
    return lambda_ * agreeing_sum_paper(thinned(deltas, masks, factors), weights, normalize=normalize)

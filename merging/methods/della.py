"""DELLA: drop at random, small entries more often, then elect signs and average (Deep et al. 2024, arXiv:2406.11617).

`merge` is mergekit's rule, `merge_paper` the papers'; they differ in what makes up for what was dropped (see
della_linear.py), and in the election and the average, which follow the TIES of the same house (see ties.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.methods.della_linear import thin, thin_paper
from merging.methods.ties import agreeing_sum, agreeing_sum_paper


def merge(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator,
    density: Sequence[float],
    epsilon: Sequence[float],
    normalize: bool = True,
    rescale: bool = True,
    lambda_: float = 1.0,
) -> Tensor:
    """The merged delta (rows, cols) by mergekit 0.1.5's rule.

    Args:
        deltas: (n, rows, cols), one per adapter.
        weights: one per adapter; they count in the election and in the average.
        generator: draws what is dropped, one adapter after the other.
        density: the mean chance of an entry to stay, in (0, 1]; at 1 nothing is dropped.
        epsilon: how far the chances of the smallest and the largest entry of a row are from the mean.
        normalize: divide by the sum of the weights of those that agree.
        rescale: scale what stays up to the old Σ|entries|, by one factor for the whole delta.
        lambda_: multiplies the result.

    Raises:
        ParameterError: density ± epsilon is not between 0 and 1.
    """
    thinned = thin(deltas, density, epsilon, generator, rescale=rescale)
    return lambda_ * agreeing_sum(thinned, weights, normalize=normalize)


def merge_paper(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator,
    density: Sequence[float],
    epsilon: Sequence[float],
    normalize: bool = True,
    rescale: bool = True,
    lambda_: float = 1.0,
) -> Tensor:
    """The merged delta by the papers' rules: `rescale` divides each entry by its chance. Arguments as in `merge`."""
    thinned = thin_paper(deltas, density, epsilon, generator, rescale=rescale)
    return lambda_ * agreeing_sum_paper(thinned, weights, normalize=normalize)

"""Breadcrumbs before TIES: drop the small and the extreme entries, then elect signs (arXiv:2312.06795, 2306.01708).

The combination is mergekit's. `merge` elects and averages by mergekit's TIES, `merge_paper` by that of the TIES paper
(see ties.py); which entries go is the same in both (see breadcrumbs.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.methods.breadcrumbs import banded
from merging.methods.ties import agreeing_sum, agreeing_sum_paper


def merge(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator | None = None,
    density: Sequence[float],
    gamma: Sequence[float],
    normalize: bool = False,
    rescale: bool = False,
    lambda_: float = 1.0,
) -> Tensor:
    """The merged delta (rows, cols) by mergekit 0.1.5's rule.

    Args:
        deltas: (n, rows, cols), one per adapter.
        weights: one per adapter; they count in the election.
        generator: not used; nothing is random.
        density: the share of each delta's entries that stays, in (0, 1].
        gamma: the share of each delta's entries that goes from the top, in [0, 1].
        normalize: divide by the sum of the weights of those that agree.
        rescale: scale what stays up to the old Σ|entries|.
        lambda_: multiplies the result.
    """
    return lambda_ * agreeing_sum(banded(deltas, density, gamma, rescale=rescale), weights, normalize=normalize)


def merge_paper(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator | None = None,
    density: Sequence[float],
    gamma: Sequence[float],
    normalize: bool = False,
    rescale: bool = False,
    lambda_: float = 1.0,
) -> Tensor:
    """The merged delta with the TIES paper's election and, by `normalize`, its mean. Arguments as in `merge`."""
    return lambda_ * agreeing_sum_paper(banded(deltas, density, gamma, rescale=rescale), weights, normalize=normalize)

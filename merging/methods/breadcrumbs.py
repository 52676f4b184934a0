"""Model Breadcrumbs: drop the small entries and the few extreme ones, add what is between (Davari and Belilovsky 2023).

arXiv:2312.06795, section 3. The paper's rule and mergekit's are the same where density + gamma is at most 1; above that
mergekit drops fewer extremes, and at density 1 none. Deltas are (n, rows, cols) float32, in whatever space the runner
chose.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.methods.dare_linear import weighted_sum
from merging.numerics.selection import nth_largest_magnitude
from merging.numerics.sparsity import keep


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
        deltas: one per adapter.
        weights: one per adapter, any sign.
        generator: not used; Breadcrumbs are not random.
        density: the share of each delta's entries that stays, in (0, 1].
        gamma: the share of each delta's entries that goes from the top, in [0, 1]; see `band_mask`.
        normalize: divide by the sum of the weights (not where it is zero).
        rescale: scale what stays up to the old Σ|entries|.
        lambda_: multiplies the result.
    """
    return lambda_ * weighted_sum(banded(deltas, density, gamma, rescale=rescale), weights, normalize=normalize)


def banded(deltas: Tensor, density: Sequence[float], gamma: Sequence[float], *, rescale: bool) -> Tensor:
    """Each delta with its small and its extreme entries zero; `rescale` restores its Σ|entries|."""
    rows = zip(deltas, density, gamma, strict=True)
    return torch.stack([keep(delta, band_mask(delta, share, top), preserve_l1=rescale) for delta, share, top in rows])


def band_mask(delta: Tensor, density: float, gamma: float) -> Tensor:
    """True at the ⌊density·size⌋ entries (at least one) that are the largest below the ⌊gamma·size⌋ extremes.

    Where both shares together are more than everything, fewer extremes go. Entries that equal the smallest or the
    largest of the kept ones stay too, so that the choice does not depend on the order in which a sort meets them.
    """
    size = delta.numel()
    if density >= 1 or size == 0:
        return torch.ones_like(delta, dtype=torch.bool)
    kept = max(1, int(density * size))
    extremes = min(int(gamma * size), size - kept)
    magnitudes = delta.abs()
    lowest, highest = (nth_largest_magnitude(delta, extremes + place) for place in (kept, 1))
    return (magnitudes >= lowest) & (magnitudes <= highest)

"""Magnitude pruning: keep the largest entries of each delta and add them up, as peft's `magnitude_prune_svd` does.

peft 0.21 keeps ⌊density·size⌋ entries, whichever a sort meets first among equals, and none of a tensor smaller than
1/density; here equals at the edge all stay, and one entry at least. peft's plain `magnitude_prune` prunes B and A
apart, which prunes no delta. Deltas are (n, rows, cols) float32, in whatever space the runner chose.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.methods.dare_linear import weighted_sum
from merging.numerics.sparsity import keep, largest_mask


def merge(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator | None = None,
    density: Sequence[float],
) -> Tensor:
    """The merged delta (rows, cols), Σ wᵢ·pruned ΔWᵢ.

    Args:
        deltas: one per adapter.
        weights: one per adapter, any sign.
        generator: not used; pruning is not random.
        density: the share of each delta's entries that stays, in (0, 1].
    """
    pairs = zip(deltas, density, strict=True)
    pruned = [keep(delta, largest_mask(delta, share), preserve_l1=False) for delta, share in pairs]
    return weighted_sum(torch.stack(pruned), weights, normalize=False)

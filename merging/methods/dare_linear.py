"""DARE: drop entries at random, scale the rest up, add (Yu et al. 2023, arXiv:2311.03099).

`merge` is mergekit's rule, `merge_paper` the paper's; they differ in the factor that makes up for what was dropped.
Deltas are (n, rows, cols) float32, in whatever space the runner chose.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.numerics.row_blocks import over_rows
from merging.numerics.sparsity import keep, l1_ratio, random_mask


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
        deltas: one per adapter.
        weights: one per adapter, any sign.
        generator: draws what is dropped, one adapter after the other.
        density: the chance of each entry to stay, in (0, 1]; the paper's 1 − p.
        normalize: divide by the sum of the weights (not where it is zero).
        rescale: scale what stays up to the old Σ|entries|. Its expectation is the paper's factor 1/density.
        lambda_: multiplies the result.
    """
    masks = random_masks(deltas, density, generator)
    factors = l1_factors(deltas, masks) if rescale else [1.0] * len(weights)
    return over_rows(
        lambda rows, kept: lambda_ * weighted_sum(thinned(rows, kept, factors), weights, normalize=normalize),
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
    """The merged delta by the paper's rule (section 3.2): `rescale` divides by the density. Arguments as in `merge`."""
    masks = random_masks(deltas, density, generator)
    factors = [1 / share if rescale else 1.0 for share in density]
    return over_rows(
        lambda rows, kept: lambda_ * weighted_sum(thinned(rows, kept, factors), weights, normalize=normalize),
        deltas,
        masks,
    )


def random_masks(deltas: Tensor, density: Sequence[float], generator: torch.Generator) -> Tensor:
    """What stays of each delta, (n, rows, cols) of bool, drawn one adapter after the other."""
    return torch.stack([random_mask(delta, share, generator) for delta, share in zip(deltas, density, strict=True)])


def l1_factors(deltas: Tensor, masks: Tensor) -> list[float]:
    """What brings each thinned delta back to its old Σ|entries| (mergekit's rule)."""
    pairs = zip(deltas, masks, strict=True)
    return [l1_ratio(delta, keep(delta, mask, preserve_l1=False)) for delta, mask in pairs]


def thinned(deltas: Tensor, masks: Tensor, factors: Sequence[float]) -> Tensor:
    """Each delta with what its mask drops zero, multiplied by its factor."""
    return (deltas * masks.view(torch.uint8)).mul_(torch.tensor(factors)[:, None, None])


def weighted_sum(deltas: Tensor, weights: Sequence[float], *, normalize: bool) -> Tensor:
    """Σ wᵢ·ΔWᵢ; with `normalize` divided by Σ wᵢ, but not where that is zero (mergekit)."""
    total = sum(weights)
    divisor = total if normalize and abs(total) >= 1e-8 else 1.0
    return torch.einsum("n,nij->ij", torch.tensor(weights, dtype=deltas.dtype), deltas) / divisor

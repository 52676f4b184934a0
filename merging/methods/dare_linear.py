"""DARE: drop entries at random, scale the rest up, add (Yu et al. 2023, arXiv:2311.03099).

`merge` is mergekit's rule, `merge_paper` the paper's; they differ in the factor that makes up for what was dropped.
Deltas are (n, rows, cols) float32, in whatever space the runner chose.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.sparsity import keep, random_mask


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
    thinned = thin(deltas, density, generator, rescale=rescale)
    return lambda_ * weighted_sum(thinned, weights, normalize=normalize)


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
    thinned = thin_paper(deltas, density, generator, rescale=rescale)
    return lambda_ * weighted_sum(thinned, weights, normalize=normalize)


def thin(deltas: Tensor, density: Sequence[float], generator: torch.Generator, *, rescale: bool) -> Tensor:
    """Each delta thinned at random; `rescale` restores its Σ|entries| (mergekit)."""
    pairs = zip(deltas, density, strict=True)
    return torch.stack(
        [keep(delta, random_mask(delta, share, generator), preserve_l1=rescale) for delta, share in pairs]
    )


def thin_paper(deltas: Tensor, density: Sequence[float], generator: torch.Generator, *, rescale: bool) -> Tensor:
    """Each delta thinned at random; `rescale` divides by its density, so that its expectation stays."""
    pairs = zip(deltas, density, strict=True)
    return torch.stack(
        [delta * random_mask(delta, share, generator) / (share if rescale else 1.0) for delta, share in pairs]
    )


def weighted_sum(deltas: Tensor, weights: Sequence[float], *, normalize: bool) -> Tensor:
    """Σ wᵢ·ΔWᵢ; with `normalize` divided by Σ wᵢ, but not where that is zero (mergekit)."""
    total = sum(weights)
    divisor = total if normalize and abs(total) >= 1e-8 else 1.0
    return torch.einsum("n,nij->ij", torch.tensor(weights, dtype=deltas.dtype), deltas) / divisor

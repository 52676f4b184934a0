"""Multi-SLERP: the weighted mean direction of any number of adapters, at their weighted mean size.

Named and defined by mergekit (Goddard 2025, goddard.blog/posts/multislerp-wow-what-a-cool-idea). It is a weighted sum
of deltas whose numbers follow from the n x n inner products alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from medley.errors import ParameterError
from merging.numerics.lowrank import Factors, gram

CANCELLED = 1e-7  # a mean of unit vectors below this is what float64 leaves of directions that cancel


def coefficients(
    factors: Sequence[Factors], *, weights: Sequence[float], normalize_weights: bool = True, eps: float = 1e-8
) -> list[float]:
    """The numbers cᵢ for which Σ cᵢ·ΔWᵢ is the mean: cᵢ = wᵢ/‖ΔWᵢ‖ · Σ wⱼ‖ΔWⱼ‖ / ‖Σ wⱼ·ΔWⱼ/‖ΔWⱼ‖‖.

    mergekit goes on from the mean direction m by Σ wᵢ(uᵢ − ⟨uᵢ, m⟩m), uᵢ = ΔWᵢ/‖ΔWᵢ‖, on the sphere's tangent plane.
    That sum is zero by the definition of m, so it is left out here. As there, one adapter returns itself whatever its
    weight, and two whose directions cancel are added up plainly. A zero delta has no direction, but its weight counts.

    Args:
        factors: one (B, A) per adapter.
        weights: one per adapter, any sign.
        normalize_weights: divide the weights by their sum.
        eps: is added to each norm before it divides, and bounds the length of a mean that has a direction.

    Raises:
        ParameterError: the weights sum to zero and are to be divided by their sum, or the directions of three or more
            adapters cancel.
    """
    if len(factors) == 1:
        return [1.0]
    share = _shares(weights) if normalize_weights else torch.tensor(weights, dtype=torch.float64)
    products = gram(factors)
    norms = products.diag().sqrt()
    if not (share * norms).any():  # zero deltas, or ones of weight 0
        return [0.0] * len(factors)
    unit = share / (norms + eps)
    length = float((unit @ products @ unit).clamp(min=0).sqrt())
    if length < max(eps, CANCELLED):
        if len(factors) == 2:
            return share.tolist()
        raise ParameterError(
            "The directions of the adapters cancel in a module, so they have no mean there. "
            "Change the weights, or use linear."
        )
    return (unit * float(share @ norms) / length).tolist()


def _shares(weights: Sequence[float]) -> Tensor:
    """The weights divided by their sum, (n,) float64."""
    total = sum(weights)
    if abs(total) < 1e-8:
        raise ParameterError(
            "The weights sum to 0 and multislerp divides by their sum. Change a weight or set normalize_weights: false."
        )
    return torch.tensor(weights, dtype=torch.float64) / total

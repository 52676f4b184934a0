"""The Karcher mean of adapters: the direction with the least sum of squared angles to all, at their mean size.

arXiv:2603.04972; the iteration is the usual one of Riemannian means on a sphere. Every step stays in the span of the
deltas, so it runs on their n x n cosines: coordinates in the deltas' directions instead of the deltas themselves.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from medley.errors import ParameterError
from merging.numerics.lowrank import Factors, gram

CANCELLED = 1e-7  # a mean of unit vectors below this is what float64 leaves of directions that cancel


def coefficients(factors: Sequence[Factors], *, max_iter: int = 10, tol: float = 1e-5) -> list[float]:
    """The numbers cᵢ for which Σ cᵢ·ΔWᵢ is the Karcher mean of the directions times the mean of the norms.

    As in mergekit 0.1.5 there are no weights, and a zero delta has no direction but counts in the mean of the norms.
    The sphere is that of the deltas; mergekit takes whole weights, and all whose norm is at most `tol` for zero, which
    deltas can be. It starts from the first model where the directions cancel, so that the result depends on the order;
    here that is an error.

    Args:
        factors: one (B, A) per adapter.
        max_iter: the largest number of steps.
        tol: the steps end at one shorter than this (an angle in radians).

    Raises:
        ParameterError: the directions cancel, as those of ΔW and −ΔW do.
    """
    products = gram(factors)
    norms = products.diag().sqrt()
    valid = [index for index, size in enumerate(norms.tolist()) if size > 0]
    if not valid:
        return [0.0] * len(factors)
    sizes = norms[valid]
    cosines = products[valid][:, valid] / torch.outer(sizes, sizes)
    direction = mean_direction(cosines, max_iter=max_iter, tol=tol)
    result = torch.zeros(len(factors), dtype=torch.float64)
    result[valid] = direction / sizes * norms.mean()
    return result.tolist()


def mean_direction(cosines: Tensor, *, max_iter: int, tol: float) -> Tensor:
    """The Karcher mean of unit vectors uᵢ as its coordinates xᵢ: the mean is Σ xᵢ·uᵢ, of length 1.

    Args:
        cosines: (n, n) float64, ⟨uᵢ, uⱼ⟩.
        max_iter, tol: as in `coefficients`.
    """
    mean = torch.full((len(cosines),), 1 / len(cosines), dtype=torch.float64)
    length = _length(mean, cosines)
    if length < CANCELLED:
        raise ParameterError(
            "The directions of the adapters cancel in a module, so they have no Karcher mean there. Use linear, or "
            "leave one of them out."
        )
    mean = mean / length
    for _ in range(max_iter):
        step = _tangent(mean, cosines, tol)
        length = _length(step, cosines)
        if length < tol:
            break
        mean = torch.cos(length) * mean + torch.sin(length) / length * step
        mean = mean / _length(mean, cosines)
    return mean


def _tangent(mean: Tensor, cosines: Tensor, tol: float) -> Tensor:
    """The mean of the vectors that lead from `mean` along the arcs to each uᵢ: (θᵢ/sin θᵢ)·(uᵢ − cos θᵢ·mean)."""
    cosine = (cosines @ mean).clamp(-1, 1)
    angle, sine = cosine.acos(), (1 - cosine.square()).sqrt()
    has_arc = (angle >= tol) & (sine > CANCELLED)  # to the opposite point every way is as short as any other
    pull = torch.where(has_arc, angle / torch.where(has_arc, sine, 1.0), 0.0) / len(cosines)
    return pull - (pull * cosine).sum() * mean


def _length(coordinates: Tensor, cosines: Tensor) -> Tensor:
    return (coordinates @ cosines @ coordinates).clamp(min=0).sqrt()

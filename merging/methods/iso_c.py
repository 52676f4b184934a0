"""Iso-C: the sum of the adapters with all its singular values made equal (Marczak et al. 2025, arXiv:2502.04959).

The paper works on whole weight changes; there, a sum of LoRA deltas has as many directions as the matrix has, and
nearly all of the flat spectrum would fall on directions that no adapter trained. In the core space there are only the
adapters' own. The result is the same for any rotation of its axes. Deltas are (n, p, q) float64.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.methods.tsv import directions


def merge(deltas: Tensor, *, weights: Sequence[float], lambda_: float = 1.0) -> Tensor:
    """λ · mean(σ) · U · Vᵀ, (p, q), where Σ wᵢ·ΔWᵢ = U · diag(σ) · Vᵀ (the paper's section 4.1).

    The mean is over all min(p, q) directions of the space; those in which the sum is zero stay zero.

    Args:
        deltas: one per adapter.
        weights: one per adapter, any sign; weights of 1 are the paper's.
        lambda_: λ, multiplies the whole; the paper tunes it.
    """
    left, values, right = directions_of_the_sum(deltas, weights)
    return lambda_ * values.sum() / max(1, min(deltas.shape[1:])) * left @ right


def directions_of_the_sum(deltas: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """U (p, k), σ (k,) and Vᵀ (k, q) of Σ wᵢ·ΔWᵢ, without what is only left of summands that cancel.

    Args:
        deltas: (n, p, q).
        weights: one per adapter.
    """
    weighted = deltas * torch.tensor(weights, dtype=deltas.dtype)[:, None, None]
    return directions(weighted.sum(0), scale=float(torch.linalg.matrix_norm(weighted).max()))

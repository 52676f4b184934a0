"""Iso-CTS: Iso-C's common directions, and in the place of the weakest ones what is each adapter's own.

Marczak et al. 2025, arXiv:2502.04959, section 4.2. On deltas in the core space, for the reason that iso_c.py gives.
Deltas are (n, p, q) float64.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.methods.iso_c import directions_of_the_sum
from merging.methods.tsv import directions, orthogonalised


def merge(deltas: Tensor, *, weights: Sequence[float], common_fraction: float = 0.8, lambda_: float = 1.0) -> Tensor:
    """λ · mean(σ) · U⊥ · V⊥ᵀ, (p, q), of the common directions and each adapter's own side by side.

    Of R = min(p, q) directions each of the n adapters gets ⌊(R − ⌊fraction·R⌋)/n⌋ of its own, the largest of what is
    left of wᵢ·ΔWᵢ outside the common rows; the sum's largest have the rest. (The authors' code rounds the first number
    to the nearest, which in a space as small as ours can ask for more than R.) The mean is over R directions.

    Args:
        deltas: one per adapter.
        weights: one per adapter, any sign; weights of 1 are the paper's.
        common_fraction: the share of the directions that the sum's largest have at least, in [0, 1].
        lambda_: λ, multiplies the whole; the paper tunes it.
    """
    count, size = len(deltas), min(deltas.shape[1:])
    own = (size - int(common_fraction * size)) // count
    shared = size - own * count
    left, values, right = directions_of_the_sum(deltas, weights)
    common = left[:, :shared]
    lefts, sigmas, rights = [common], [values[:shared]], [right[:shared]]
    for delta, weight in zip(deltas, weights, strict=True):
        rest = delta - common @ (common.T @ delta)
        left, values, right = directions(weight * rest, scale=float(torch.linalg.matrix_norm(weight * delta)))
        lefts.append(left[:, :own])
        sigmas.append(values[:own])
        rights.append(right[:own])
    turned_left, turned_right = orthogonalised(torch.cat(lefts, dim=1)), orthogonalised(torch.cat(rights).T)
    return lambda_ * torch.cat(sigmas).sum() / max(1, size) * turned_left @ turned_right.T

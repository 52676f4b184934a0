"""TSV-Merge: the adapters' singular vectors, turned apart until they are at right angles (Gargiulo et al. 2024).

arXiv:2412.00081, section 4. The paper works on whole weight changes; here on deltas in the core space, whose few axes
all belong to an adapter, so that no direction outside of them can enter. The result is the same for any rotation of
those axes. Deltas are (n, p, q) float64.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.numerics.lowrank import numerical_rank


def merge(deltas: Tensor, *, weights: Sequence[float], keep: float = 1.0, lambda_: float = 1.0) -> Tensor:
    """λ · U⊥ · diag(w₁σ₁, …, wₙσₙ) · V⊥ᵀ, (p, q): each adapter's singular vectors side by side, made orthonormal.

    The paper keeps ⌊min(rows, columns)/n⌋ directions of each adapter, which is room enough for all of a LoRA's. Its
    sum has no weights; here a weight multiplies the adapter's singular values, and weights of 1 are the paper's.

    Args:
        deltas: one per adapter.
        weights: one per adapter, any sign.
        keep: the share of each adapter's singular directions that stays, largest first; at least one.
        lambda_: λ, multiplies the whole.
    """
    lefts, sigmas, rights = [], [], []
    for delta, weight in zip(deltas, weights, strict=True):
        left, values, right = directions(delta)
        kept = max(1, int(keep * len(values)))
        lefts.append(left[:, :kept])
        sigmas.append(weight * values[:kept])
        rights.append(right[:kept])
    turned_left, turned_right = orthogonalised(torch.cat(lefts, dim=1)), orthogonalised(torch.cat(rights).T)
    return lambda_ * (turned_left * torch.cat(sigmas)) @ turned_right.T


def directions(matrix: Tensor, *, scale: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """The singular vectors and values of a matrix, (p, k), (k,) and (k, q), without those that are rounding.

    Args:
        matrix: (p, q).
        scale: the size of what was added up or taken off to make it; 0 if nothing was.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rank = numerical_rank(values, scale)
    return left[:, :rank], values[:rank], right[:rank]


def orthogonalised(columns: Tensor) -> Tensor:
    """The nearest matrix of the same shape with orthonormal columns: P·Qᵀ where columns = P·Σ·Qᵀ.

    Where the columns depend on each other that is impossible; the result then is the nearest that spans no more than
    they do, and its rows and columns are orthonormal in that span.
    """
    left, values, right = torch.linalg.svd(columns, full_matrices=False)
    rank = numerical_rank(values)
    return left[:, :rank] @ right[:rank]

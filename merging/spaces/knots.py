"""The space of KnOTS: rows along the axes that all adapters share, columns as they are (Stoica et al. 2024).

arXiv:2410.19735: with [D₁|…|Dₙ] = U·S·[V₁ᵀ|…|Vₙᵀ], rules look at Pᵢ = S·Vᵢᵀ (k, n), and the result is U·P. As
Pᵢ = Uᵀ·Dᵢ, the left singular vectors are all that is needed, and those come from R x R matrices. The authors drop
singular values up to 1e-5; here those that are rounding of float32. As in the core space, signs and the axes of equal
singular values are fixed by a convention, so the result depends on the deltas alone.
"""

from collections.abc import Sequence

import torch

from merging.numerics.lowrank import Factors, side_by_side
from merging.numerics.orthonormal import orthonormal_columns
from merging.spaces.shared import SharedSpace, shared_axes, without_rounding


def knots_space(factors: Sequence[Factors]) -> SharedSpace:
    """The space of these deltas, in O((m+n)·R² + R³).

    Args:
        factors: one (B, A) per adapter, scaling in B; rank 0 for one that does not touch the module.
    """
    b, a = side_by_side(factors)
    basis = orthonormal_columns(b)
    ranks = [b.shape[1] for b, _ in factors]
    inside = list(zip(basis.upper.split(ranks, dim=1), a.split(ranks), strict=True))
    axes = shared_axes(basis, inside)
    deltas = torch.stack([(axes.turn.T @ x) @ y for x, y in inside])
    return SharedSpace(axes.matrix, None, without_rounding(deltas), axes.tied)

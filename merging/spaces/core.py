"""A small space that all adapters of one module share, in which elementwise rules need R x R numbers, not m x n.

Its axes are the singular vectors of the stacked deltas [D₁|…|Dₙ] (rows) and [D₁;…;Dₙ] (columns), so it belongs to the
deltas: neither the gauge of a factorisation (B·G, G⁻¹·A) nor the order of the adapters moves it. Axes made from the
stacked factors (Core Space, Panariello et al. 2025, arXiv:2509.17786) do not have that property, and elementwise rules
give other results in them. Every delta lies in the space exactly: U·(Uᵀ·D·V)·Vᵀ = D.
"""

from collections.abc import Sequence

import torch

from merging.numerics.lowrank import Factors, side_by_side
from merging.numerics.orthonormal import orthonormal_columns
from merging.spaces.shared import SharedSpace, shared_axes, without_rounding


def core_space(factors: Sequence[Factors]) -> SharedSpace:
    """The space of these deltas, in O((m+n)·R² + R³): bases of [B₁|…|Bₙ] and [A₁;…;Aₙ] make all else R x R.

    Args:
        factors: one (B, A) per adapter, scaling in B; rank 0 for one that does not touch the module.
    """
    b, a = side_by_side(factors)
    rows, columns = orthonormal_columns(b), orthonormal_columns(a.T)
    ranks = [b.shape[1] for b, _ in factors]
    inside = list(zip(rows.upper.split(ranks, dim=1), columns.upper.T.split(ranks), strict=True))
    row_axes = shared_axes(rows, inside)
    column_axes = shared_axes(columns, [(y.T, x.T) for x, y in inside])
    deltas = torch.stack([(row_axes.turn.T @ x) @ (y @ column_axes.turn) for x, y in inside])
    return SharedSpace(row_axes.matrix, column_axes.matrix, without_rounding(deltas), row_axes.tied + column_axes.tied)

"""A small space that all adapters of one module share, in which elementwise rules need R x R numbers, not m x n.

Its axes are the singular vectors of the stacked deltas [D₁|…|Dₙ] (rows) and [D₁;…;Dₙ] (columns), so it belongs to the
deltas: neither the gauge of a factorisation (B·G, G⁻¹·A) nor the order of the adapters moves it. Axes made from the
stacked factors (Core Space, Panariello et al. 2025, arXiv:2509.17786) do not have that property, and elementwise rules
give other results in them. Every delta lies in the space exactly: U·(Uᵀ·D·V)·Vᵀ = D.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.numerics.lowrank import Factors, numerical_rank, side_by_side
from merging.numerics.orthonormal import orthonormal_columns
from merging.spaces.shared import SharedSpace, anchored


def core_space(factors: Sequence[Factors]) -> SharedSpace:
    """The space of these deltas, in O((m+n)·R² + R³).

    Args:
        factors: one (B, A) per adapter, scaling in B; rank 0 for one that does not touch the module.
    """
    rows, tied_rows = row_axes(factors)
    columns, tied_columns = row_axes([(a.T, b.T) for b, a in factors])
    return SharedSpace(rows, columns, tied_rows + tied_columns)


def row_axes(factors: Sequence[Factors]) -> tuple[Tensor, int]:
    """The left singular vectors of [D₁|…|Dₙ], and how many of them are tied.

    With Aᵢᵀ = QᵢRᵢ, D = [B₁R₁ᵀ | … | BₙRₙᵀ] times orthonormal rows, so a thin matrix of R columns has the same left
    singular vectors; an orthonormal basis of [B₁|…|Bₙ] makes it R x R. Nothing is squared, so small directions stay
    accurate.
    """
    b, _ = side_by_side(factors)
    basis = orthonormal_columns(b)
    blocks = zip(basis.upper.split([b.shape[1] for b, _ in factors], dim=1), factors, strict=True)
    small = torch.cat([block @ orthonormal_columns(a.double().T).upper.T for block, (_, a) in blocks], dim=1)
    left, values, _ = torch.linalg.svd(small, full_matrices=False)
    kept = numerical_rank(values)
    return anchored(basis.matrix @ (basis.turn @ left[:, :kept]), values[:kept])

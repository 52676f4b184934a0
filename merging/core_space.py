"""A small space that all adapters of one module share, in which elementwise rules need R x R numbers, not m x n.

Its axes are the singular vectors of the stacked deltas [D₁|…|Dₙ] (rows) and [D₁;…;Dₙ] (columns), so it belongs to the
deltas: neither the gauge of a factorisation (B·G, G⁻¹·A) nor the order of the adapters moves it. Axes made from the
stacked factors (Core Space, Panariello et al. 2025, arXiv:2509.17786) do not have that property, and elementwise rules
give other results in them. Every delta lies in the space exactly: U·(Uᵀ·D·V)·Vᵀ = D.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from merging.lowrank import Factors, Spectrum, numerical_rank, side_by_side
from merging.orthonormal import orthonormal_columns

SAME_VALUE = 1e-5  # singular values closer than this share of the largest have no axes of their own


@dataclass(frozen=True)
class CoreSpace:
    """The shared axes of one module, float64.

    Attributes:
        rows: (m, p), orthonormal columns.
        columns: (n, q), orthonormal columns.
        tied: how many axes belong to singular values that are equal to rounding. Their directions inside their common
            plane are a convention (see `anchored`), not a fact of the adapters.
    """

    rows: Tensor
    columns: Tensor
    tied: int

    def project(self, delta: Factors) -> Tensor:
        """Uᵀ·B·A·V, the delta in the space: (p, q) float32."""
        b, a = delta
        return ((self.rows.T @ b.double()) @ (a.double() @ self.columns)).float()

    def lift(self, core: Tensor) -> Spectrum:
        """U·core·Vᵀ as a singular value decomposition of the full delta."""
        left, values, right = torch.linalg.svd(core.double(), full_matrices=False)
        kept = numerical_rank(values)
        return Spectrum(self.rows, left[:, :kept], values[:kept], right[:kept], self.columns.T)


def core_space(factors: Sequence[Factors]) -> CoreSpace:
    """The space of these deltas, in O((m+n)·R² + R³).

    Args:
        factors: one (B, A) per adapter, scaling in B; rank 0 for one that does not touch the module.
    """
    rows, tied_rows = _axes([(b, a) for b, a in factors])
    columns, tied_columns = _axes([(a.T, b.T) for b, a in factors])
    return CoreSpace(rows, columns, tied_rows + tied_columns)


def _axes(factors: Sequence[Factors]) -> tuple[Tensor, int]:
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


def anchored(axes: Tensor, values: Tensor) -> tuple[Tensor, int]:
    """The axes with sign and, among equal singular values, direction fixed by the space they span alone.

    An SVD may return any rotation inside equal singular values, and either sign everywhere. In each group of equals
    the first axis is turned to the coordinate that the group's space holds most of, the next to the one it holds most
    of among what is left, and so on; each is positive there. A group of one only gets its sign.

    Args:
        axes: (m, k), orthonormal columns.
        values: (k,), falling.

    Returns:
        The turned axes and the number of them in groups of two or more.
    """
    falling = values.tolist()
    starts = [i for i in range(len(falling)) if i == 0 or falling[i - 1] - falling[i] > SAME_VALUE * falling[0]]
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    turned, tied = axes * largest.sign(), 0
    for start, end in pairwise([*starts, len(values)]):
        if end - start > 1:
            turned[:, start:end] = _turned_to_coordinates(axes[:, start:end])
            tied += end - start
    return turned, tied


def _turned_to_coordinates(group: Tensor) -> Tensor:
    rest, directions = group.clone(), []
    for _ in range(group.shape[1]):
        nearest = rest[int(rest.square().sum(1).argmax())]
        direction = nearest / nearest.norm()
        directions.append(direction)
        rest = rest - torch.outer(rest @ direction, direction)
    return group @ torch.stack(directions, dim=1)

"""The axes that the deltas of one module share, and what it means to look at a delta along them.

Which axes: core.py, knots.py and compressed.py. What is done there: a method's `merge`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from merging.numerics.lowrank import CANCELLED, Factors, Spectrum, decompose, numerical_rank
from merging.numerics.orthonormal import Orthonormal

SAME_VALUE = 1e-5  # singular values closer than this share of the largest have no axes of their own


@dataclass(frozen=True)
class SharedSpace:
    """The shared axes of one module and its deltas along them, all float64.

    Attributes:
        rows: (m, p), orthonormal columns.
        columns: (n, q), orthonormal columns; None where columns stay as they are (then q = n).
        deltas: (N, p, q), the Uᵀ·Dᵢ·V of the deltas that the space is of.
        tied: how many axes belong to singular values that are equal to rounding. Their directions inside their common
            plane are a convention (see `anchored`), not a fact of the adapters.
    """

    rows: Tensor
    columns: Tensor | None
    deltas: Tensor
    tied: int

    def lift(self, merged: Tensor, *, scale: float = 0.0) -> Spectrum:
        """U·merged·Vᵀ as a singular value decomposition of the full delta.

        Args:
            merged: (p, q).
            scale: the size of the summands behind it, as in `decompose`.
        """
        if self.columns is None:
            return decompose(self.rows, merged.double(), scale=scale)
        left, values, right = torch.linalg.svd(merged.double(), full_matrices=False)
        kept = numerical_rank(values, scale)
        return Spectrum(self.rows, left[:, :kept], values[:kept], right[:kept], self.columns.T)


@dataclass(frozen=True)
class Axes:
    """The shared axes of one side.

    Attributes:
        matrix: (m, k), orthonormal columns.
        turn: (p, k), the same axes in the basis in which they were found.
        tied: as of SharedSpace.
    """

    matrix: Tensor
    turn: Tensor
    tied: int


def shared_axes(basis: Orthonormal, inside: Sequence[Factors]) -> Axes:
    """The left singular vectors of [D₁|…|Dₙ].

    With Yᵢᵀ = QᵢRᵢ, [X₁Y₁|…|XₙYₙ] = [X₁R₁ᵀ|…|XₙRₙᵀ] times orthonormal rows, so R columns have the same left singular
    vectors. Nothing is squared, so small directions stay accurate.

    Args:
        basis: orthonormal columns Q that span the columns of all deltas.
        inside: one (Xᵢ, Yᵢ) per delta, (p, rᵢ) and (rᵢ, any) float64, with Dᵢ = Q·Xᵢ·Yᵢ.
    """
    small = torch.cat([x @ torch.linalg.qr(y.T, mode="r").R.T for x, y in inside], dim=1)
    left, values, _ = torch.linalg.svd(small, full_matrices=False)
    kept = numerical_rank(values)
    left = left[:, :kept]
    axes, convention, tied = anchored(basis.matrix @ (basis.turn @ left), values[:kept])
    return Axes(axes, left @ convention, tied)


def without_rounding(deltas: Tensor) -> Tensor:
    """Deltas (N, p, q) with exact zeros where there is only rounding of float64.

    A rule may count entries or ask for their signs, and where a delta has none it should find none.
    """
    sizes = torch.linalg.matrix_norm(deltas)[:, None, None]
    return torch.where(deltas.abs() > CANCELLED * sizes, deltas, 0.0)


def anchored(axes: Tensor, values: Tensor) -> tuple[Tensor, Tensor, int]:
    """The axes with sign and, among equal singular values, direction fixed by the space they span alone.

    An SVD may return any rotation inside equal singular values, and either sign everywhere. In each group of equals
    the first axis is turned to the coordinate that the group's space holds most of, the next to the one it holds most
    of among what is left, and so on; each is positive there. A group of one only gets its sign.

    Args:
        axes: (m, k), orthonormal columns.
        values: (k,), falling.

    Returns:
        The turned axes, the turn (k, k) that axes were multiplied by, and how many are in groups of two or more.
    """
    falling = values.tolist()
    starts = [i for i in range(len(falling)) if i == 0 or falling[i - 1] - falling[i] > SAME_VALUE * falling[0]]
    signs = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    turned, turn, tied = axes * signs, torch.diag(signs[0]), 0
    for start, end in pairwise([*starts, len(values)]):
        if end - start > 1:
            group = slice(start, end)
            turn[group, group] = _turn_to_coordinates(axes[:, group])
            turned[:, group] = axes[:, group] @ turn[group, group]
            tied += end - start
    return turned, turn, tied


def _turn_to_coordinates(group: Tensor) -> Tensor:
    rest, directions = group.clone(), []
    for _ in range(group.shape[1]):
        nearest = rest[int(rest.square().sum(1).argmax())]
        direction = nearest / nearest.norm()
        directions.append(direction)
        rest = rest - torch.outer(rest @ direction, direction)
    return torch.stack(directions, dim=1)

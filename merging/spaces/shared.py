"""The axes that the deltas of one module share, and what it means to look at a delta along them.

Which axes: core.py, knots.py and compressed.py. What is done there: a method's `merge`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from merging.numerics.lowrank import CANCELLED, Factors, Spectrum, decompose, numerical_rank

SAME_VALUE = 1e-5  # singular values closer than this share of the largest have no axes of their own


@dataclass(frozen=True)
class SharedSpace:
    """The shared axes of one module, float64.

    Attributes:
        rows: (m, p), orthonormal columns.
        columns: (n, q), orthonormal columns; None where columns stay as they are (then q = n).
        tied: how many axes belong to singular values that are equal to rounding. Their directions inside their common
            plane are a convention (see `anchored`), not a fact of the adapters.
    """

    rows: Tensor
    columns: Tensor | None
    tied: int

    def project(self, delta: Factors) -> Tensor:
        """Uᵀ·B·A·V, the delta in the space: (p, q) float64, with exact zeros where there is only rounding of float64.

        A rule may count entries or ask for their signs, and where a delta has none it should find none.
        """
        b, a = delta[0].double(), delta[1].double()
        inside = (self.rows.T @ b) @ (a if self.columns is None else a @ self.columns)
        return torch.where(inside.abs() > CANCELLED * torch.linalg.matrix_norm(inside), inside, 0.0)

    def stack(self, factors: Sequence[Factors]) -> Tensor:
        """Every delta in the space, (n, p, q) float64."""
        return torch.stack([self.project(delta) for delta in factors])

    def lift(self, merged: Tensor) -> Spectrum:
        """U·merged·Vᵀ as a singular value decomposition of the full delta."""
        if self.columns is None:
            return decompose(self.rows, merged.double())
        left, values, right = torch.linalg.svd(merged.double(), full_matrices=False)
        kept = numerical_rank(values)
        return Spectrum(self.rows, left[:, :kept], values[:kept], right[:kept], self.columns.T)


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

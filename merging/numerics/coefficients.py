"""What an exact method multiplies a delta with: one number, or one number for each of its rows or columns.

A delta stays a pair of factors under all three: numbers per row scale the rows of B, numbers per column the columns of
A. Nothing here knows of methods; what is done with the scaled deltas is in lowrank.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

Factors = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PerRow:
    """diag(values)·ΔW.

    Attributes:
        values: (m,), one number for each row of the delta (each output feature).
    """

    values: Tensor


@dataclass(frozen=True)
class PerColumn:
    """ΔW·diag(values).

    Attributes:
        values: (n,), one number for each column of the delta (each input feature).
    """

    values: Tensor


Coefficient = float | PerRow | PerColumn


def with_plain_weights(
    factors: Sequence[Factors], coefficients: Sequence[Coefficient]
) -> tuple[list[Factors], list[float]]:
    """The same weighted sum with numbers alone: those per row or column are multiplied into B or A, in float64.

    Args:
        factors: one (B, A) per delta, of any rank.
        coefficients: one each; vectors have the delta's own height or width.
    """
    moved, weights = [], []
    for (b, a), by in zip(factors, coefficients, strict=True):
        if isinstance(by, PerRow):
            moved.append((by.values.double()[:, None] * b.double(), a))
        elif isinstance(by, PerColumn):
            moved.append((b, a.double() * by.values.double()))
        else:
            moved.append((b, a))
        weights.append(1.0 if isinstance(by, PerRow | PerColumn) else by)
    return moved, weights

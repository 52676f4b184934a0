"""How often adapters pull one entry of a weight matrix in opposite directions, without building their deltas."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from merging.numerics.lowrank import Factors

EXACT_ENTRIES = 4096  # a module of at most so many entries is looked at as a whole
SAMPLED_ENTRIES = 1024  # of a larger one


@dataclass(frozen=True)
class ModuleConflict:
    """What was seen in one module.

    Attributes:
        size: the entries that it has.
        seen: how many were looked at; equal to `size` where all were.
        opposed: in how many of those two adapters have opposite signs.
    """

    size: int
    seen: int
    opposed: int

    @property
    def share(self) -> float:
        return self.opposed / self.seen

    @property
    def variance(self) -> float:
        """Of the share, over the choice of the entries; 0 where all were looked at."""
        return 0.0 if self.seen == self.size else self.share * (1 - self.share) / (self.seen - 1)


@dataclass(frozen=True)
class SignConflict:
    """The share of entries, of all modules that two adapters or more touch, in which two have opposite signs.

    Attributes:
        share: in [0, 1]; unbiased. Two unrelated adapters have 0.5, n of them 1 - 2^(1-n).
        standard_error: of the share, from the choice of the entries; 0 where all were looked at.
        seen, size: how many entries were looked at, and how many there are.
    """

    share: float
    standard_error: float
    seen: int
    size: int


def module_conflict(deltas: Sequence[Factors], generator: torch.Generator) -> ModuleConflict:
    """The conflicts in one module: all its entries if there are few, else some that are drawn with replacement.

    An entry is the product of a row of B with a column of A, so what is not drawn is never computed.

    Args:
        deltas: (B, A) of two adapters or more, each with the sign of its weight.
        generator: draws the entries.
    """
    rows, columns = deltas[0][0].shape[0], deltas[0][1].shape[1]
    size = rows * columns
    if size <= EXACT_ENTRIES:
        entries = torch.stack([(b @ a).flatten() for b, a in deltas])
    else:
        row = torch.randint(rows, (SAMPLED_ENTRIES,), generator=generator)
        column = torch.randint(columns, (SAMPLED_ENTRIES,), generator=generator)
        entries = torch.stack([(b[row] * a[:, column].T).sum(1) for b, a in deltas])
    return ModuleConflict(size, entries.shape[1], _opposed(entries))


def _opposed(entries: Tensor) -> int:
    """In how many columns of (adapters, entries) there is a positive and a negative number; zeros take no side."""
    return int(((entries > 0).any(0) & (entries < 0).any(0)).sum())


def sum_conflicts(modules: Sequence[ModuleConflict]) -> SignConflict | None:
    """All modules together, each with the weight of its size; None where no two adapters meet."""
    if not modules:
        return None
    size = sum(module.size for module in modules)
    share = math.fsum(module.size / size * module.share for module in modules)
    variance = math.fsum((module.size / size) ** 2 * module.variance for module in modules)
    return SignConflict(share, math.sqrt(variance), sum(module.seen for module in modules), size)

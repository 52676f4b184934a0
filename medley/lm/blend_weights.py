"""The weights of a blend: one number for an adapter, or a number for each module that it changes.

As tensors for the layers they are a row per blend and a column per adapter. Legend: N rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from medley.errors import ParameterError
from medley.lm.panes import Blend, Weight


@dataclass(frozen=True)
class RowWeights:
    """What each row multiplies each adapter's deltas with.

    Attributes:
        everywhere: (N, adapters).
        by_module: the same for modules that have weights of their own.
    """

    everywhere: torch.Tensor
    by_module: Mapping[str, torch.Tensor]

    def keep(self, rows: Sequence[int]) -> "RowWeights":
        """Those of some rows."""
        rows = list(rows)
        return RowWeights(self.everywhere[rows], {name: each[rows] for name, each in self.by_module.items()})


def row_weights(blends: Sequence[Blend], keys: Sequence[str]) -> RowWeights:
    """The weights of N blends, the adapters in the order of `keys`."""

    def table(module: str | None) -> torch.Tensor:
        return torch.tensor([[_weight_at(blend.get(key, 0.0), module) for key in keys] for blend in blends])

    modules = {name for blend in blends for each in blend.values() if isinstance(each, Mapping) for name in each}
    return RowWeights(table(None), {name: table(name) for name in sorted(modules)})


def without_zeros(blend: Blend) -> dict[str, Weight]:
    """The same blend without the adapters that add nothing.

    Raises:
        ParameterError: a weight that is not finite.
    """
    for key, weight in blend.items():
        for number in _numbers(weight):
            if not math.isfinite(number):
                raise ParameterError(f"A weight must be a finite number, got {number} for {key[:12]}.")
    chosen = {key: weight for key, weight in blend.items() if any(_numbers(weight))}
    return {key: dict(weight) if isinstance(weight, Mapping) else float(weight) for key, weight in chosen.items()}


def _numbers(weight: Weight) -> list[float]:
    return list(weight.values()) if isinstance(weight, Mapping) else [weight]


def _weight_at(weight: Weight, module: str | None) -> float:
    """A weight at a module; None stands for every module that no blend of the batch names."""
    return float(weight.get(module or "", 0.0) if isinstance(weight, Mapping) else weight)

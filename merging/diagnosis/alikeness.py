"""How alike adapters are: the angles between their deltas, and how much of the same space they read and write.

Each module is reduced once, by a QR of all its factors side by side, to matrices of R x R (R = the sum of the ranks);
everything here is then read off those. No delta is built.

Legend: ΔWᵢ = BᵢAᵢ. The columns of ΔWᵢ are what it writes (its output space), the rows what it reads (its input space).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from merging.numerics.lowrank import Factors, numerical_rank

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class SmallModule:
    """One module's deltas in the axes that they share: Mᵢ with ΔWᵢ = Q·Mᵢ·Pᵀ, Q and P with orthonormal columns.

    Attributes:
        products: adapter pair (i, j), i <= j, to ⟨ΔWᵢ, ΔWⱼ⟩.
        outputs, inputs: adapter to an orthonormal basis of its column and row space, (R, kᵢ) float64, kᵢ its
            numerical rank.
    """

    products: Mapping[tuple[int, int], float]
    outputs: Mapping[int, Tensor]
    inputs: Mapping[int, Tensor]


def reduce_module(factors: Mapping[int, Factors]) -> SmallModule:
    """The deltas of one module, by adapter, in O((m+n)·R² + N·R³).

    Args:
        factors: (B, A) by adapter, scaling in B.
    """
    left = torch.linalg.qr(torch.cat([b.double() for b, _ in factors.values()], dim=1), mode="r").R
    right = torch.linalg.qr(torch.cat([a.double() for _, a in factors.values()]).T, mode="r").R
    ranks = [b.shape[1] for b, _ in factors.values()]
    parts = zip(factors, left.split(ranks, dim=1), right.split(ranks, dim=1), strict=True)
    small = {index: b @ a.T for index, b, a in parts}
    products, outputs, inputs = {}, {}, {}
    for index, delta in small.items():
        u, values, v = torch.linalg.svd(delta, full_matrices=False)
        kept = numerical_rank(values)
        outputs[index], inputs[index] = u[:, :kept], v[:kept].T
        products |= {(index, other): float((delta * small[other]).sum()) for other in small if other >= index}
    return SmallModule(products, outputs, inputs)


@dataclass
class Alikeness:
    """Adds up modules to numbers for whole adapters.

    Attributes:
        count: how many adapters there are.
    """

    count: int
    _products: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    _shared: dict[tuple[int, int], list[tuple[float, float, int]]] = field(default_factory=dict)

    def add(self, module: SmallModule) -> None:
        for pair, product in module.products.items():
            self._products.setdefault(pair, []).append(product)
        for first, second in ((i, j) for i, j in module.products if i != j):
            output = float((module.outputs[first].T @ module.outputs[second]).square().sum())
            read = float((module.inputs[first].T @ module.inputs[second]).square().sum())
            smaller = min(module.outputs[first].shape[1], module.outputs[second].shape[1])
            self._shared.setdefault((first, second), []).append((output, read, smaller))

    def cosines(self) -> Matrix:
        """⟨ΔWᵢ, ΔWⱼ⟩ / (‖ΔWᵢ‖·‖ΔWⱼ‖) over all modules, in [-1, 1]: 1 is the same direction, 0 unrelated.

        A module that an adapter does not touch is a zero delta; a zero adapter has cosine 0 to others.
        """
        sums = {pair: math.fsum(products) for pair, products in self._products.items()}
        norms = [math.sqrt(max(0.0, sums.get((index, index), 0.0))) for index in range(self.count)]

        def cosine(first: int, second: int) -> float:
            size = norms[first] * norms[second]
            return max(-1.0, min(1.0, sums.get((first, second), 0.0) / size)) if size else 0.0

        return self._symmetric(cosine)

    def overlaps(self) -> tuple[Matrix, Matrix]:
        """Of the output and the input spaces: Σ‖UᵢᵀUⱼ‖² / Σ min(kᵢ, kⱼ) over the modules that both touch, in [0, 1].

        U are orthonormal bases, k their sizes. 1: wherever both are, the smaller space lies in the larger one. 0: they
        are orthogonal, or never meet. Two random spaces of k of m dimensions have about k / m.
        """

        def overlap(place: int, first: int, second: int) -> float:
            shared = self._shared.get((first, second), [])
            most = sum(each[2] for each in shared)
            return min(1.0, math.fsum(each[place] for each in shared) / most) if most else 0.0

        return self._symmetric(partial(overlap, 0)), self._symmetric(partial(overlap, 1))

    def _symmetric(self, value: Callable[[int, int], float]) -> Matrix:
        places = range(self.count)
        return tuple(tuple(1.0 if i == j else value(min(i, j), max(i, j)) for j in places) for i in places)

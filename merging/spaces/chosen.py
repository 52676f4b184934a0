"""Where a recipe's method looks at the deltas of one module: a shared space, or the dense matrices themselves."""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.numerics.lowrank import Factors
from merging.recipes.recipe import Recipe
from merging.spaces.compressed import compressed_space
from merging.spaces.core import core_space
from merging.spaces.knots import knots_space
from merging.spaces.shared import SharedSpace


def shared_space(recipe: Recipe, factors: Sequence[Factors]) -> SharedSpace:
    """The recipe's space over these deltas; for `delta`, which needs no axes, the core space.

    Args:
        recipe: says which space, and how large a compressed one is.
        factors: one (B, A) per adapter that takes part.
    """
    if recipe.space == "knots":
        return knots_space(factors)
    if recipe.space == "compressed":
        return compressed_space(factors, int(recipe.rank.value))
    return core_space(factors)


def space_stack(recipe: Recipe, factors: Sequence[Factors]) -> Tensor:
    """The deltas of one module in the recipe's space, (n, rows, columns) float32."""
    if recipe.space != "delta":
        return shared_space(recipe, factors).deltas.float()
    (b, _), (_, a) = factors[0], factors[-1]
    deltas = torch.empty(len(factors), b.shape[0], a.shape[1])
    for delta, (b, a) in zip(deltas, factors, strict=True):
        torch.matmul(b, a, out=delta)
    return deltas

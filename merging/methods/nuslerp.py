"""NuSLERP: SLERP of two adapters by their weights, over the whole delta or row by row or column by column.

Named as in mergekit, which has it from SLERP (Shoemake 1985). Here: the coefficients. Not here: truncation to a rank
(lowrank.py). The angles are between deltas (ΔW = s·B·A), as mergekit has them where a recipe names a base model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from medley.errors import ParameterError
from merging.numerics.coefficients import Coefficient, Factors, PerColumn, PerRow
from merging.numerics.lowrank import column_products, gram, row_products

SAME_LINE = 1e-7  # sin² of the angle below which two deltas of float32 factors lie on one line


def coefficients(
    factors: Sequence[Factors],
    *,
    weights: Sequence[float],
    nuslerp_flatten: bool = True,
    nuslerp_row_wise: bool = False,
) -> list[Coefficient]:
    """The coefficients (c₁, c₂) for which c₁·ΔW₁ + c₂·ΔW₂ is the point t = w₂/(w₁+w₂) of the arc.

    As in mergekit 0.1.5, `nuslerp_row_wise` takes the vectors along the first dimension of a weight (out, in), so it
    gives one angle to each *column*, and False one to each row. A zero vector is at a right angle to everything. We
    differ in three places: weights that sum to zero are an error (mergekit goes halfway); vectors count as parallel up
    to the rounding of float32 (there up to that of float64, where opposite vectors give huge numbers); short vectors
    keep their direction (there norms below 1e-7 are raised to it).

    Args:
        factors: the two adapters' (B, A) for one module.
        weights: two, any sign; t outside [0, 1] goes on along the circle.
        nuslerp_flatten: one angle for the whole delta; the other switch then has no effect.
        nuslerp_row_wise: one angle for each column instead of one for each row.

    Raises:
        ParameterError: not exactly two adapters, or weights that sum to zero.
    """
    if len(factors) != 2:
        raise ParameterError(f"NuSLERP blends exactly two adapters, got {len(factors)}.")
    total = sum(weights)
    if abs(total) < 1e-8:
        raise ParameterError("The weights sum to 0 and nuslerp divides by their sum. Change a weight.")
    t = weights[1] / total
    if nuslerp_flatten:
        return [float(each) for each in arc(*gram(factors)[[0, 1, 0], [0, 1, 1]], t)]
    products, kind = (column_products, PerColumn) if nuslerp_row_wise else (row_products, PerRow)
    first, second = factors
    numbers = arc(products(first, first), products(second, second), products(first, second), t)
    return [kind(each) for each in numbers]


def arc(first: Tensor, second: Tensor, both: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """What two vectors are multiplied with at the point t of the arc between them; any number of pairs at once.

    Args:
        first, second: ⟨x, x⟩ and ⟨y, y⟩ of each pair.
        both: ⟨x, y⟩ of each pair.
        t: 0 gives x, 1 gives y.
    """
    sizes = (first.clamp(min=0) * second.clamp(min=0)).sqrt()
    cosine = (both / torch.where(sizes == 0, 1.0, sizes)).clamp(-1, 1)
    is_line = 1 - cosine.square() <= SAME_LINE
    angle = torch.acos(torch.where(is_line, 0.0, cosine))
    return (
        torch.where(is_line, 1 - t, torch.sin((1 - t) * angle) / torch.sin(angle)),
        torch.where(is_line, t, torch.sin(t * angle) / torch.sin(angle)),
    )

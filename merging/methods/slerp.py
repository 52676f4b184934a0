"""SLERP of two adapters: a point on the arc between their deltas (ΔW = s·B·A), found without building either delta.

Here: the two coefficients. Not here: truncation to a rank (lowrank.py), reading and writing (run.py).
"""

import math
from collections.abc import Sequence

from medley.errors import ParameterError
from merging.numerics.lowrank import Factors, inner_product

ALMOST_PARALLEL = 0.9995  # |cos| above which sin(angle) is too small to divide by; a straight line is then exact enough


def coefficients(factors: Sequence[Factors], *, t: float) -> list[float]:
    """The numbers (c₁, c₂) for which c₁·ΔW₁ + c₂·ΔW₂ is the SLERP at t (Shoemake 1985, eq. for Slerp).

    The angle is between the deltas, not between the factors and not between whole weights, where it is so small
    that SLERP is a straight line. Norms are not normalised first, as in mergekit, so they move from one to the other.

    Args:
        factors: the two adapters' (B, A) for one module.
        t: 0 gives the first delta, 1 the second; in [0, 1].

    Raises:
        ParameterError: t outside [0, 1], or not exactly two adapters.
    """
    if len(factors) != 2:
        raise ParameterError(f"SLERP blends exactly two adapters, got {len(factors)}.")
    if not 0 <= t <= 1:
        raise ParameterError(f"t must be in [0, 1], got {t}.")
    first, second = factors
    norms = math.sqrt(inner_product(first, first) * inner_product(second, second))
    if norms == 0:  # an untouched module on one side has no direction
        return [1 - t, t]
    cosine = max(-1.0, min(1.0, inner_product(first, second) / norms))
    if abs(cosine) > ALMOST_PARALLEL:
        return [1 - t, t]
    angle = math.acos(cosine)
    return [math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)]

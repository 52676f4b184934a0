"""The space of KnOTS: rows along the axes that all adapters share, columns as they are (Stoica et al. 2024).

arXiv:2410.19735: with [D₁|…|Dₙ] = U·S·[V₁ᵀ|…|Vₙᵀ], rules look at Pᵢ = S·Vᵢᵀ (k, n), and the result is U·P. As
Pᵢ = Uᵀ·Dᵢ, the left singular vectors are all that is needed, and those come from R x R matrices. The authors drop
singular values up to 1e-5; here those that are rounding of float32. As in the core space, signs and the axes of equal
singular values are fixed by a convention, so the result depends on the deltas alone.
"""

from collections.abc import Sequence

from merging.numerics.lowrank import Factors
from merging.spaces.core import row_axes
from merging.spaces.shared import SharedSpace


def knots_space(factors: Sequence[Factors]) -> SharedSpace:
    """The space of these deltas, in O((m+n)·R² + R³).

    Args:
        factors: one (B, A) per adapter, scaling in B; rank 0 for one that does not touch the module.
    """
    rows, tied = row_axes(factors)
    return SharedSpace(rows, None, tied)

"""The space of Compress-then-Merge: as few axes as the result may have rank, chosen for all adapters together.

arXiv:2606.03723: orthonormal U (m, r) and V (n, r) that keep the most of Σ‖Uᵀ·Dᵢ·V‖² (a Tucker decomposition of the
stacked deltas that leaves the adapters apart); the r x r matrices Uᵀ·Dᵢ·V are merged by any rule, and U·M·Vᵀ has rank r
without a cut afterwards. All of it is found inside the core space, from R x R matrices.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.numerics.lowrank import Factors, norm
from merging.spaces.core import core_space
from merging.spaces.shared import SharedSpace, anchored, without_rounding

MOST_SWEEPS = 12  # what more of them gain is far below what the cut loses
SAME_ENERGY = 1e-14  # a gain below this share of the energy ends the sweeps


def compressed_space(factors: Sequence[Factors], rank: int) -> SharedSpace:
    """The best axes for these deltas that alternating least squares finds; the core space where that is no larger.

    It starts from the largest singular vectors of the stacked deltas (HOSVD; De Lathauwer et al. 2000) and improves
    each side with the other one fixed (HOOI). The axes are the singular vectors of what is kept, as in the core space.

    Args:
        factors: one (B, A) per adapter, scaling in B; rank 0 for one that does not touch the module.
        rank: the largest number of axes on each side.
    """
    core = core_space(factors)
    if max(core.rows.shape[1], core.columns.shape[1]) <= rank:
        return core
    cores = core.deltas
    columns = torch.eye(cores.shape[2], dtype=cores.dtype)[:, :rank]
    held = 0.0
    for _ in range(MOST_SWEEPS):
        rows, row_values = _leading(cores @ columns, rank)
        columns, column_values = _leading(cores.mT @ rows, rank)
        before, held = held, float(column_values.square().sum())
        if held - before <= SAME_ENERGY * held:
            break
    row_axes, row_turn, tied_rows = anchored(core.rows @ rows, row_values)
    column_axes, column_turn, tied_columns = anchored(core.columns @ columns, column_values)
    deltas = (rows @ row_turn).T @ cores @ (columns @ column_turn)
    return SharedSpace(row_axes, column_axes, without_rounding(deltas), tied_rows + tied_columns)


def energy_held(space: SharedSpace, factors: Sequence[Factors]) -> float:
    """The share of Σ‖Dᵢ‖² that lies in the space; 1 for zero deltas."""
    total = sum(norm(delta) ** 2 for delta in factors)
    return min(1.0, float(space.deltas.square().sum()) / total) if total else 1.0


def _leading(stacked: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The largest left singular vectors (p, k) and values of [M₁|…|Mₙ], k = rank or all there are.

    Args:
        stacked: (n, p, c).
    """
    left, values, _ = torch.linalg.svd(stacked.permute(1, 0, 2).flatten(1), full_matrices=False)
    return left[:, :rank], values[:rank]

"""SCE: select the entries in which adapters differ, calculate each one's share, erase minorities (Wan et al. 2024).

FuseChat, arXiv:2408.07990, section 3.3. SCE finds the weights itself, so it takes none. `merge` is mergekit's rule,
`merge_paper` the same without mergekit's absolute floors: below them, which the small deltas of adapters easily are,
mergekit gives all adapters one share. Deltas are (n, rows, cols) float32, in whatever space the runner chose.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from merging.numerics.selection import nth_largest_magnitude

ENERGY_FLOOR = 1e-6  # mergekit: a summed mean square below this says nothing about who matters
SHARE_FLOOR = 1e-6  # mergekit: never divide by a smaller sum of shares


def merge(
    deltas: Tensor,
    *,
    weights: Sequence[float] = (),
    generator: torch.Generator | None = None,
    select_topk: float = 1.0,
) -> Tensor:
    """The merged delta (rows, cols) by mergekit 0.1.5's rule.

    Args:
        deltas: one per adapter.
        weights, generator: not used; the deltas weigh themselves and nothing is random.
        select_topk: the share, among the entries in which the adapters differ at all, of those that count; in (0, 1].
    """
    selected = deltas * select_mask(deltas, select_topk)
    energies = mean_squares(selected)
    total = float(energies.sum())
    shares = energies / total if total >= ENERGY_FLOOR else torch.full_like(energies, 1 / len(deltas))
    merged, agreeing_share = erased_sum(selected, shares)
    return merged / agreeing_share.clamp(min=SHARE_FLOOR)


def merge_paper(
    deltas: Tensor,
    *,
    weights: Sequence[float] = (),
    generator: torch.Generator | None = None,
    select_topk: float = 1.0,
) -> Tensor:
    """The merged delta by the paper's rule, however small the deltas are. Arguments as in `merge`."""
    selected = deltas * select_mask(deltas, select_topk)
    energies = mean_squares(selected)
    shares = energies / energies.sum().clamp(min=torch.finfo(energies.dtype).tiny)
    merged, agreeing_share = erased_sum(selected, shares)
    return merged / torch.where(agreeing_share == 0, 1.0, agreeing_share)


def select_mask(deltas: Tensor, select_topk: float) -> Tensor:
    """(rows, cols), True at the ⌊select_topk·count⌋ entries (at least one) with the largest variance over the adapters.

    `count` is the number of entries that vary at all. Those that equal the smallest of the chosen variances are chosen
    too; so where nothing varies (one adapter, or adapters that are all the same) everything is.
    """
    if select_topk >= 1 or deltas.numel() == 0:
        return torch.ones_like(deltas[0], dtype=torch.bool)
    variances = deltas.var(0, correction=0)
    wanted = max(1, int(select_topk * int(variances.count_nonzero())))
    return variances >= nth_largest_magnitude(variances, wanted)


def mean_squares(deltas: Tensor) -> Tensor:
    """(n,): how much each adapter does in the selected entries, the paper's measure of its importance."""
    return deltas.square().mean(dim=(1, 2))


def erased_sum(deltas: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Per entry, Σ sᵢ·ΔWᵢ and Σ sᵢ over the adapters whose sign is that of the plain total (+ where it is 0)."""
    elected = torch.where(deltas.sum(0) >= 0, 1.0, -1.0)
    share_NMK = shares[:, None, None] * (deltas.sign() == elected)
    return (share_NMK * deltas).sum(0), share_NMK.sum(0)

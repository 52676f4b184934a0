"""Keeping some entries of a delta and scaling them up: the first half of TIES, DARE and their relatives.

Pure functions on one delta (rows, cols) in float32; the second half, who wins where adapters disagree, is in ties.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from merging.numerics.row_blocks import row_blocks, sum_of_magnitudes
from merging.numerics.selection import nth_largest_magnitude

TOO_SMALL_TO_DIVIDE = 1e-7  # a sum of magnitudes below this has no meaningful ratio (mergekit's bound)
HIGH_BINS, LOW_BINS = 1 << 15, 1 << 16  # a non-negative float32 is 15 + 16 bits that sort like the number


def smallest_kept(delta: Tensor, density: float) -> float:
    """The magnitude of the ⌊density·size⌋-th largest entry (of the largest, where that is none); 0 keeps all."""
    if density >= 1 or delta.numel() == 0:
        return 0.0
    return nth_largest_magnitude(delta, max(1, int(density * delta.numel())))


def largest_mask(delta: Tensor, density: float) -> Tensor:
    """True at the ⌊density·size⌋ entries of largest magnitude (at least one); all that equal the smallest of them too.

    Keeping the equals makes the choice independent of the order in which a sort meets them.
    """
    return delta.abs() >= smallest_kept(delta, density)


def random_mask(delta: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """True at each entry with probability `density`, independently."""
    if density >= 1:
        return torch.ones_like(delta, dtype=torch.bool)
    mask = torch.empty(delta.shape, dtype=torch.bool)
    for block in row_blocks(*delta.shape):
        mask[block] = torch.rand(mask[block].shape, generator=generator) < density
    return mask


def keep(delta: Tensor, keep_mask: Tensor, *, preserve_l1: bool) -> Tensor:
    """The delta with the other entries zero; with `preserve_l1`, scaled so that Σ|entries| is what it was."""
    kept = torch.empty_like(delta)
    for block in row_blocks(*delta.shape):
        torch.mul(delta[block], keep_mask[block].view(torch.uint8), out=kept[block])  # faster than with bool
    return kept.mul_(l1_ratio(delta, kept)) if preserve_l1 else kept


def l1_ratio(delta: Tensor, kept: Tensor) -> float:
    """What brings Σ|entries| of what was kept back to what it was; 1 where one of them is too small to divide."""
    before, after = sum_of_magnitudes(delta), sum_of_magnitudes(kept)
    return 1.0 if min(before, after) < TOO_SMALL_TO_DIVIDE else before / after


def whole_thresholds(
    modules: Callable[[], Iterable[Sequence[tuple[int, Tensor]]]], density: Mapping[int, float]
) -> dict[int, float]:
    """Per adapter, the magnitude of its ⌊density·size⌋-th largest entry over all modules, exactly.

    No adapter is held in memory: the modules are walked twice, counting first the upper and then the lower bits of
    the magnitudes.

    Args:
        modules: called twice; yields for each module the adapters that touch it, with their deltas (float32).
        density: adapter to the share to keep.
    """
    high = {adapter: torch.zeros(HIGH_BINS, dtype=torch.int64) for adapter in density}
    for adapter, delta in chain.from_iterable(modules()):
        high[adapter] += torch.bincount(_bits(delta) >> 16, minlength=HIGH_BINS)
    wanted = {adapter: max(1, int(share * int(high[adapter].sum()))) for adapter, share in density.items()}
    places = {adapter: _bin_from_above(high[adapter], wanted[adapter]) for adapter in density if high[adapter].any()}
    low = {adapter: torch.zeros(LOW_BINS, dtype=torch.int64) for adapter in density}
    for adapter, delta in chain.from_iterable(modules()):
        bits = _bits(delta)
        low[adapter] += torch.bincount(bits[bits >> 16 == places[adapter][0]] & 0xFFFF, minlength=LOW_BINS)
    edges = {adapter: top << 16 | _bin_from_above(low[adapter], left)[0] for adapter, (top, left) in places.items()}
    return {
        adapter: float(torch.tensor(bits, dtype=torch.int32).view(torch.float32)) for adapter, bits in edges.items()
    }


def _bits(delta: Tensor) -> Tensor:
    return delta.abs().flatten().view(torch.int32)


def _bin_from_above(counts: Tensor, wanted: int) -> tuple[int, int]:
    """The highest bin down to which at least `wanted` entries lie, and how many of them it has to give."""
    from_above = counts.flip(0).cumsum(0)
    steps = int((from_above < wanted).sum())
    above = int(from_above[steps - 1]) if steps else 0
    return len(counts) - 1 - steps, wanted - above

"""Keeping some entries of a delta and scaling them up: the first half of TIES, DARE and their relatives.

Pure functions on one delta (rows, cols) in float32; the second half, who wins where adapters disagree, is in ties.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

TOO_SMALL_TO_DIVIDE = 1e-7  # a sum of magnitudes below this has no meaningful ratio (mergekit's bound)
HIGH_BINS, LOW_BINS = 1 << 15, 1 << 16  # a non-negative float32 is 15 + 16 bits that sort like the number


def largest_mask(delta: Tensor, density: float) -> Tensor:
    """True at the ⌊density·size⌋ entries of largest magnitude (at least one); all that equal the smallest of them too.

    Keeping the equals makes the choice independent of the order in which a sort meets them.
    """
    if density >= 1 or delta.numel() == 0:
        return torch.ones_like(delta, dtype=torch.bool)
    magnitudes = delta.abs().flatten()
    dropped = magnitudes.numel() - max(1, int(density * magnitudes.numel()))
    return delta.abs() >= magnitudes.kthvalue(dropped + 1).values


def random_mask(delta: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """True at each entry with probability `density`, independently."""
    if density >= 1:
        return torch.ones_like(delta, dtype=torch.bool)
    return torch.rand(delta.shape, generator=generator) < density


def keep(delta: Tensor, keep_mask: Tensor, *, preserve_l1: bool) -> Tensor:
    """The delta with the other entries zero; with `preserve_l1`, scaled so that Σ|entries| is what it was."""
    kept = delta * keep_mask
    if not preserve_l1:
        return kept
    before, after = float(delta.abs().sum()), float(kept.abs().sum())
    return kept if min(before, after) < TOO_SMALL_TO_DIVIDE else kept * (before / after)


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

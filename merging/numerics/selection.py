"""The n-th largest magnitude of a large tensor, exactly, without sorting it.

A sample says between which two magnitudes the answer almost surely lies; one pass counts what is above and picks out
what is between, and only that little is sorted. Where the sample misled, everything is. NumPy does it all, because it
compares and picks several times faster than torch on a CPU.
"""

import math

import numpy
from numpy.typing import NDArray
from torch import Tensor

from merging.numerics.row_blocks import BLOCK_ENTRIES

Entries = NDArray[numpy.float32]

SAMPLE = 1 << 16
DEVIATIONS = 6  # of the sample's rank around the true one; half of √SAMPLE is one


def nth_largest_magnitude(values: Tensor, place: int) -> float:
    """The magnitude that `place` − 1 entries lie above or equal.

    Args:
        values: float32, any shape; not empty.
        place: from 1 (the largest) to the number of entries.
    """
    entries = values.detach().reshape(-1).numpy()
    found = _between(entries, place, *_bracket(entries, place)) if len(entries) > 8 * SAMPLE else None
    return _by_sorting(numpy.abs(entries), place) if found is None else found


def _by_sorting(magnitudes: Entries, place: int) -> float:
    return float(numpy.partition(magnitudes, len(magnitudes) - place)[len(magnitudes) - place])


def _bracket(entries: Entries, place: int) -> tuple[float, float]:
    """Two magnitudes around the wanted one, from every so-and-so-many-th entry (an odd step meets every column)."""
    sample = numpy.sort(numpy.abs(entries[:: len(entries) // SAMPLE | 1]))[::-1]
    middle = place / len(entries) * len(sample)
    margin = DEVIATIONS * 0.5 * math.sqrt(len(sample))
    above, below = int(middle - margin), int(middle + margin) + 1
    highest = float(sample[above]) if above >= 0 else math.inf
    return highest, float(sample[below]) if below < len(sample) else 0.0


def _between(entries: Entries, place: int, highest: float, lowest: float) -> float | None:
    """The wanted magnitude if it is in [lowest, highest], else None."""
    above, candidates = 0, []
    for start in range(0, len(entries), BLOCK_ENTRIES):
        magnitudes = numpy.abs(entries[start : start + BLOCK_ENTRIES])
        is_above = magnitudes > highest
        above += int(numpy.count_nonzero(is_above))
        candidates.append(magnitudes[(magnitudes >= lowest) & ~is_above])
    inside = numpy.concatenate(candidates)
    return _by_sorting(inside, place - above) if 0 < place - above <= len(inside) else None

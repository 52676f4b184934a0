"""Texts that say nearly the same, found by MinHash (Broder 1997) and confirmed exactly.

Two texts are near when the Jaccard index of their 5-byte shingles is at least 0.8, case and spacing aside. (Five suits
short texts: Leskovec et al., Mining of Massive Datasets, section 3.2.) MinHash with locality-sensitive hashing finds
candidates without comparing all with all; every reported pair has been compared shingle by shingle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

SHINGLE_BYTES = 5
THRESHOLD = 0.8
PERMUTATIONS = 128
MAX_TEXT_BYTES = 4096  # what comes after it is not looked at
MAX_CONFIRMED = 10  # candidates confirmed for one text, the likeliest first
MISSES_COUNT = (0.1, 0.9)  # of false candidates and missed ones: false ones cost only time
MIX = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads neighbouring numbers over the whole range


@dataclass(frozen=True)
class NearPair:
    """Two near texts by their places in the list, the earlier one first, and their Jaccard index."""

    first: int
    second: int
    similarity: float


def near_pairs(texts: Sequence[str], parts: Sequence[Sequence[str]] | None = None) -> list[NearPair]:
    """One pair for every text that is near to an earlier one, in order.

    Texts are compared with the first of each group of near texts, not with all of the group. So `len` of the result is
    the number of texts that could be left out.

    Args:
        parts: of each text the parts that must each be near as well, where a long beginning in common says nothing.
    """
    import numpy
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, weights=MISSES_COUNT)
    first = MinHash(num_perm=PERMUTATIONS, hashfunc=int)
    kept: dict[int, tuple[list[numpy.ndarray], numpy.ndarray]] = {}  # place -> shingles of text and parts, signature
    pairs = []
    for place, text in enumerate(texts):
        own = [shingles(each) for each in ((text, *parts[place]) if parts else (text,))]
        sketch = first.copy()
        sketch.update_batch(_hashes(own[0]))
        likely = sorted(
            index.query(sketch), key=lambda each: (-(kept[each][1] == sketch.hashvalues).sum(), each)
        )[:MAX_CONFIRMED]  # fmt: skip
        found = max(((min(map(jaccard, kept[each][0], own)), -each) for each in likely), default=(0.0, 0))
        if found[0] >= THRESHOLD:
            pairs.append(NearPair(-found[1], place, found[0]))
            continue
        kept[place] = own, sketch.hashvalues
        index.insert(place, sketch, check_duplication=False)
    return pairs


def shingles(text: str) -> "numpy.ndarray":
    """The different runs of five bytes of a text as numbers, sorted; a shorter text is one run."""
    import numpy

    data = " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")[:MAX_TEXT_BYTES].ljust(SHINGLE_BYTES)
    numbers = numpy.frombuffer(data, dtype=numpy.uint8).astype(numpy.uint64)
    runs = numpy.zeros(len(data) - SHINGLE_BYTES + 1, dtype=numpy.uint64)
    for place in range(SHINGLE_BYTES):
        runs = runs * numpy.uint64(256) + numbers[place : place + len(runs)]
    return numpy.unique(runs)


def jaccard(one: "numpy.ndarray", other: "numpy.ndarray") -> float:
    """The share of common members among all members of two sorted sets."""
    import numpy

    common = len(numpy.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def _hashes(runs: "numpy.ndarray") -> list[int]:
    """Runs as evenly spread 32-bit numbers, which is what MinHash permutes."""
    import numpy

    return (runs * numpy.uint64(MIX) >> numpy.uint64(32)).tolist()

"""What a merge will take: counted operations and bytes, and the seconds that a few measured modules make of them.

Counts are of the largest terms and right to a factor of two, which is what a person needs to know.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medley.lm.adapter_file import AdapterFile
from merging.check import Preflight
from merging.plan import ModulePlan
from merging.recipes.recipe import Recipe

MEASURED_OPERATIONS = 3e8  # the modules that are measured take about so many together, which takes some 50 ms,
MEASURED_SHARE = 0.1  # or this share of all operations, if that is more
EXTRA_COLUMNS, PASSES = 16, 8  # of the random projection that finds factors of a dense delta
RULE_OPERATIONS = 40  # of an elementwise rule per entry and adapter: threshold, sign, sums
MEASUREMENTS = 3  # of a module at most: the first one pays for what is loaded late, and others may be disturbed
MEASURED_SECONDS = 0.2  # after so many a module is not measured again
DENSE_BYTES = 2_000_000_000  # dense deltas that may be in memory at once, unless one module alone takes more
SVD_OPERATIONS = 60  # of the small singular value decomposition, times R³
WIDE_SVD_OPERATIONS = 22  # of one decomposition of p x q, times max(p, q) · min(p, q)²
SWEEPS = 12  # of the search for compressed axes at most, as spaces/compressed.py ends it


@dataclass(frozen=True)
class Cost:
    """An estimate for this machine.

    Attributes:
        seconds: of the merge on a machine that does nothing else, reading and writing included.
        peak_bytes: of the numbers that it holds at once; the libraries themselves come on top.
        operations: counted for all modules.
        workers: how many modules are worked on at once, each on one thread.
    """

    seconds: float
    peak_bytes: int
    operations: float
    workers: int = 1


def is_dense(recipe: Recipe) -> bool:
    """Whether the merge builds whole deltas, one module at a time."""
    return recipe.method.family == "elementwise" and recipe.space == "delta"


def operations_of(recipe: Recipe, plan: ModulePlan, adapters: Sequence[AdapterFile]) -> float:
    """Floating-point operations of one module, to the largest terms.

    Small matrices: QR of both stacked factors and what is multiplied back, 12·(m+n)·R², and an SVD of R x R; space
    compressed adds its search. Dense: each delta built (2·m·n·r), the rule's passes over the entries, and the products
    of the random projection.
    """
    count = sum(1 for index in plan.inputs if index is not None)
    rank, rows, columns = plan.rank_sum(adapters), plan.out_features, plan.in_features
    small = 12.0 * (rows + columns) * rank**2 + SVD_OPERATIONS * rank**3
    if recipe.named_space == "compressed":
        small += compression_operations(count, rank, int(recipe.rank.value))
    if not is_dense(recipe):
        return small
    entries = float(rows * columns)
    wanted = min(rank, int(recipe.rank.value)) if recipe.rank.kind == "at_most" else rank
    width = min(wanted + EXTRA_COLUMNS, rows, columns)
    return entries * (2 * rank + RULE_OPERATIONS * count + 2 * PASSES * width) + 12.0 * (rows + columns) * width**2


def compression_operations(count: int, rank: int, kept: int) -> float:
    """Operations that find the axes of space compressed: in each sweep, on each side, a product and an SVD.

    Args:
        count: adapters.
        rank: the sum of their ranks.
        kept: the axes that are wanted; all of them need no search.
    """
    if rank <= kept:
        return 0.0
    wide = count * kept
    decomposition = WIDE_SVD_OPERATIONS * max(rank, wide) * min(rank, wide) ** 2
    return 2.0 * SWEEPS * (2 * rank**2 * wide + decomposition)


def bytes_of(recipe: Recipe, plan: ModulePlan, adapters: Sequence[AdapterFile]) -> int:
    """Bytes of the numbers that one module holds at once while it is merged.

    Small matrices: the factors in float32, and in float64 stacked, as bases and multiplied back. Dense: the deltas
    in float32, what is kept of them, the result, and small blocks of what the rule makes on the way.
    """
    count = sum(1 for index in plan.inputs if index is not None)
    rank, rows, columns = plan.rank_sum(adapters), plan.out_features, plan.in_features
    small = (4 + 8 * 4) * rank * (rows + columns)
    if not is_dense(recipe):
        return small
    return round(4 * rows * columns * (1.5 * count + 2)) + small


def workers_for(recipe: Recipe, plans: Sequence[ModulePlan], threads: int) -> int:
    """How many modules are worked on at once: one per thread, but fewer where they are dense and large."""
    if not is_dense(recipe):
        return threads
    largest = max(plan.out_features * plan.in_features * (len(plan.inputs) + 2) * 4 for plan in plans)
    return max(1, min(threads, DENSE_BYTES // largest))


def estimate_cost(
    found: Preflight,
    recipe: Recipe,
    read_seconds: float,
    merge_one: Callable[[ModulePlan], object],
    threads: int = 1,
) -> Cost:
    """What the merge will take.

    Args:
        found: its preflight, without problems.
        recipe: parsed.
        read_seconds: how long reading all factors just took; the merge reads, digests and writes about as much each.
        merge_one: merges one module and throws the result away.
        threads: that the merge may use.
    """
    adapters = list(found.adapters.values())
    needed = {plan.name: operations_of(recipe, plan, adapters) for plan in found.modules}
    seconds = _work_seconds(found.modules, needed, merge_one)
    workers = workers_for(recipe, found.modules, threads)
    largest = sorted((bytes_of(recipe, plan, adapters) for plan in found.modules), reverse=True)[:workers]
    return Cost(seconds / workers + 3 * read_seconds, sum(largest), sum(needed.values()), workers)


def _work_seconds(
    plans: Sequence[ModulePlan], needed: Mapping[str, float], merge_one: Callable[[ModulePlan], object]
) -> float:
    """Of all modules on one thread: those of one shape take as long as the one of them that is measured.

    Shapes that together need most come first. What is too much to measure is worth its operations at the pace of the
    others: only of a few large modules, of which the cheapest is then measured alone.
    """
    alike: dict[tuple[int, int, float], list[ModulePlan]] = {}
    for plan in plans:
        alike.setdefault((plan.out_features, plan.in_features, needed[plan.name]), []).append(plan)
    groups = sorted(alike.values(), key=lambda group: len(group) * needed[group[0].name], reverse=True)
    total = sum(needed.values())
    left = max(MEASURED_OPERATIONS, MEASURED_SHARE * total)
    seconds = counted = 0.0
    for group in groups:
        each = needed[group[0].name]
        if each <= left:
            left -= each
            counted += len(group) * each
            seconds += len(group) * _shortest(merge_one, group[0])
    if not counted:
        cheapest = min(plans, key=lambda plan: needed[plan.name])
        seconds, counted = _shortest(merge_one, cheapest), needed[cheapest.name]
    return seconds * total / counted


def _shortest(merge_one: Callable[[ModulePlan], object], plan: ModulePlan) -> float:
    """The shortest of several measurements, in seconds of the processor, which others may use at the same time."""
    times: list[float] = []
    while len(times) < MEASUREMENTS and sum(times) < MEASURED_SECONDS:
        started = time.thread_time()
        merge_one(plan)
        times.append(time.thread_time() - started)
    return min(times)

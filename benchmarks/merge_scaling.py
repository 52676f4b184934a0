"""How the cost of a merge grows with the number of adapters and with their rank."""

import math
from argparse import Namespace
from collections.abc import Sequence

from benchmarks.merge_inputs import random_modules
from benchmarks.merge_sums import RULE_SETTINGS, time_ours

ADAPTERS, RANKS = (2, 4, 8, 16, 32), (4, 8, 16, 32, 64)
USUAL_ADAPTERS, USUAL_RANK = 4, 16


def scaling(options: Namespace) -> str:
    """The curves as Markdown: ms per module, and the exponent that fits them."""
    lines = [
        f"Cost in memory, ms per module of {options.size} x {options.size}, cut to the rank of one input; the exponent "
        "is that of the line through the points in the log-log plane (1: proportional).\n",
        f"| adapters of rank {USUAL_RANK} | {' | '.join(map(str, ADAPTERS))} | exponent |",
        "|---|" + "---:|" * (len(ADAPTERS) + 1),
    ]
    for method in ("linear", "ties"):
        times = [measure(options, method, count, USUAL_RANK) for count in ADAPTERS]
        lines.append(_line(method, ADAPTERS, times))
    lines += ["", f"| rank of {USUAL_ADAPTERS} adapters | {' | '.join(map(str, RANKS))} | exponent |"]
    lines.append("|---|" + "---:|" * (len(RANKS) + 1))
    for method in ("linear", "ties"):
        times = [measure(options, method, USUAL_ADAPTERS, rank) for rank in RANKS]
        lines.append(_line(method, RANKS, times))
    return "\n".join(lines)


def measure(options: Namespace, method: str, adapters: int, rank: int) -> float:
    """Seconds per module."""
    modules = random_modules(2, options.size, adapters=adapters, rank=rank)
    space, settings = ("core", RULE_SETTINGS["ties"]) if method == "ties" else (None, {"normalize": True})
    weights = (1 / adapters,) * adapters
    return time_ours(modules, weights, method, rounds=options.rounds, space=space, settings=settings)[0]


def fitted_exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The slope of the least-squares line through (log size, log time)."""
    x, y = [math.log(size) for size in sizes], [math.log(time) for time in times]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    rise = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return rise / sum((a - middle_x) ** 2 for a in x)


def _line(method: str, sizes: Sequence[int], times: Sequence[float]) -> str:
    called = "`ties` in `core`" if method == "ties" else f"`{method}`"
    cells = [f"{1000 * seconds:.2f}" for seconds in times]
    return f"| {called} | {' | '.join(cells)} | {fitted_exponent(sizes, times):.2f} |"

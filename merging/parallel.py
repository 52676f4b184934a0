"""Modules worked on side by side, each on one thread, with the results in order."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MOST_WORKERS = 4  # each holds the delta of one module in float32
ResultT = TypeVar("ResultT")


def in_order(work: Callable[[str], ResultT], modules: Sequence[str]) -> Iterator[tuple[str, ResultT]]:
    """Each module with its result. When the caller stops, so does the work that has not begun."""
    pool = ThreadPoolExecutor(min(MOST_WORKERS, os.cpu_count() or 1))
    try:
        yield from zip(modules, pool.map(work, modules), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)

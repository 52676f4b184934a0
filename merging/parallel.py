"""Several modules at once, their results in order: for work that must not depend on how many threads there are."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

MOST_DENSE_WORKERS = 4  # each holds the delta of one module in float32
LARGE_BLOCK = 31 << 20  # bytes; glibc learns nothing from blocks of 32 MB and more
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """The function's results, in the order of the items.

    Every item is worked on by one thread, whose torch uses no others, so the results are the same with any number of
    workers. At most one item more than there are workers is begun or done and not yet taken, so memory stays small
    however many there are.

    Args:
        function: must not change what another item's call reads.
        items: taken from as they are needed.
        workers: threads; 1 is the caller's own.
    """
    keep_freed_memory()
    if workers == 1:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, "merge", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for each in pending:
                each.cancel()


def dense_workers() -> int:
    """How many may work on whole matrices at once, whatever torch's own number of threads was."""
    return min(MOST_DENSE_WORKERS, os.cpu_count() or 1)


def keep_freed_memory() -> None:
    """Let what one item frees serve the next one, where the C library is glibc; elsewhere nothing happens.

    glibc gives freed memory back to the system beyond twice the largest block that it has ever unmapped (mallopt(3),
    M_MMAP_THRESHOLD), and the system clears every page again that is asked for anew, module after module. This block
    is never touched, so it costs no memory.
    """
    torch.empty(LARGE_BLOCK, dtype=torch.uint8)

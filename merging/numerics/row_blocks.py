"""Large tensors walked in blocks that fit into a processor's cache, so that ten passes over a delta read memory once.

Blocks depend on the shape alone: the same tensors give the same bytes on any machine.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

BLOCK_ENTRIES = 1 << 16  # 256 kB of float32, so that what a rule makes beside it stays in the cache too


def row_blocks(rows: int, entries_per_row: int) -> Iterator[slice]:
    """Slices of rows, each of about BLOCK_ENTRIES entries and at least one row."""
    step = max(1, BLOCK_ENTRIES // max(1, entries_per_row))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def over_rows(rule: Callable[..., Tensor], *stacks: Tensor) -> Tensor:
    """What an elementwise rule makes of stacks of one shape (n, rows, cols): (rows, cols), in the first one's dtype.

    The rule sees some rows of all n at a time, of every stack.
    """
    count, rows, columns = stacks[0].shape
    merged = stacks[0].new_empty(rows, columns)
    for block in row_blocks(rows, count * columns):
        merged[block] = rule(*(stack[:, block] for stack in stacks))
    return merged


def is_zero(values: Tensor) -> bool:
    """Whether no entry is anything but 0; NaN is. Three times as fast as `any`."""
    return not values.numel() or all(float(end) == 0 for end in values.aminmax())


def sum_of_squares(matrix: Tensor) -> float:
    """Σ entries² of (rows, cols), each block in float32 and the blocks in float64."""
    return sum(float(matrix[block].square().sum()) for block in row_blocks(*matrix.shape))


def sum_of_magnitudes(matrix: Tensor) -> float:
    """Σ |entries| of (rows, cols), each block in float32 and the blocks in float64."""
    return sum(float(matrix[block].abs().sum()) for block in row_blocks(*matrix.shape))


def squared_distance(matrix: Tensor, b: Tensor, a: Tensor) -> float:
    """‖matrix − B·A‖² without ever building B·A.

    Args:
        matrix: (m, n) float32.
        b, a: (m, r) and (r, n) float32.
    """
    return sum(
        float(torch.addmm(matrix[block], b[block], a, alpha=-1).square().sum()) for block in row_blocks(*matrix.shape)
    )

"""How far two tensors of one name are apart, in models that may be stored in different dtypes."""

import torch
from torch import Tensor

from merging.numerics.row_blocks import is_zero


def difference(before: Tensor, after: Tensor) -> Tensor | None:
    """after − before in float32, or None where they differ by no more than the rounding to the narrower dtype."""
    if before.dtype == after.dtype:
        is_same = torch.equal(before, after)  # most tensors that differ do so at once, and the rest costs no buffer
    elif before.element_size() > after.element_size():
        is_same = torch.equal(before.to(after.dtype), after)
    else:
        is_same = torch.equal(before, after.to(before.dtype))
    if is_same:
        return None
    delta = after.to(torch.float32, copy=True).sub_(before)  # one buffer: making more costs longer than subtracting
    return None if is_zero(delta) else delta

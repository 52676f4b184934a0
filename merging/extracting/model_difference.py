"""How far two tensors of one name are apart, in models that may be stored in different dtypes."""

import torch
from torch import Tensor

from merging.numerics.row_blocks import is_zero


def difference(before: Tensor, after: Tensor) -> Tensor | None:
    """after − before in float32, or None where one of them is the other, rounded to its dtype."""
    if before.dtype == after.dtype:
        is_same = torch.equal(before, after)  # most tensors that differ do so at once, and the rest costs no buffer
    else:  # of float16 and bfloat16 neither holds all numbers of the other
        is_same = torch.equal(before.to(after.dtype), after) or torch.equal(before, after.to(before.dtype))
    if is_same:
        return None
    wide = torch.float64 if torch.float64 in (before.dtype, after.dtype) else torch.float32
    delta = after.to(wide, copy=True).sub_(before)  # one buffer: making more costs longer than subtracting
    return None if is_zero(delta) else delta.to(torch.float32)

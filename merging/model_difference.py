"""How far two tensors of one name are apart, in models that may be stored in different dtypes."""

import torch
from torch import Tensor


def difference(before: Tensor, after: Tensor) -> Tensor | None:
    """after − before in float32, or None where they differ by no more than the rounding to the narrower dtype."""
    if before.dtype == after.dtype:
        is_same = torch.equal(before, after)
    elif before.element_size() > after.element_size():
        is_same = torch.equal(before.to(after.dtype), after)
    else:
        is_same = torch.equal(before, after.to(before.dtype))
    return None if is_same else after.float() - before.float()

import math

import torch

from merging.numerics.row_blocks import is_zero


def test_only_zeros_are_zero() -> None:
    assert is_zero(torch.zeros(3, 2))
    assert is_zero(torch.zeros(0, 2))
    assert is_zero(torch.tensor([-0.0]))
    for entry in (1e-38, -1e-38, math.nan):  # so small that its square is 0
        assert not is_zero(torch.tensor([0.0, entry]))

"""Rows of a weight matrix with their adapters folded in, and cast once. Pure: tensors in, tensors out."""

from collections.abc import Sequence

import torch

from medley.errors import ParameterError

Change = tuple[torch.Tensor, torch.Tensor]  # (left, right): left @ right is what is added to the matrix


def stacked(changes: Sequence[Change]) -> Change:
    """One change that is the sum of all: [left₁ | left₂ | …] and [right₁; right₂; …]."""
    return torch.cat([left for left, _ in changes], dim=1), torch.cat([right for _, right in changes], dim=0)


def folded_rows(block: torch.Tensor, first: int, change: Change) -> torch.Tensor:
    """`block` + the same rows of left @ right, in place.

    Args:
        block: (rows, columns), some rows of the matrix.
        first: the number of the first of them.
        change: left (all rows, rank), right (rank, columns), in the block's dtype.
    """
    left, right = change
    return block.add_(left[first : first + block.shape[0]] @ right)  # addmm_ rounds once less, and so differently


def with_magnitude(block: torch.Tensor, first: int, magnitude: torch.Tensor) -> torch.Tensor:
    """`block` with each row scaled to its length in `magnitude`, in place (DoRA, arXiv:2402.09353, equation 5).

    Args:
        block: (rows, columns) of W + s·B·A.
        magnitude: (all rows,), what peft calls lora_magnitude_vector.
    """
    lengths = torch.linalg.vector_norm(block, dim=1)
    return block.mul_((magnitude[first : first + block.shape[0]] / lengths).unsqueeze(1))


def cast_once(block: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    """`block` in `dtype`.

    Raises:
        ParameterError: a value is not a number, or is too large for `dtype`; it says the tensor's name.
    """
    if block.numel() == 0:
        return block.to(dtype)
    low, high = (float(end) for end in torch.aminmax(block))  # both are NaN where one entry is
    largest = max(-low, high) if low == low else low
    word = str(dtype).removeprefix("torch.")
    if not torch.isfinite(torch.tensor(largest)):
        raise ParameterError(f"'{name}' holds NaN or Infinity after folding, so nothing is written.")
    if not torch.isfinite(torch.tensor(largest, dtype=torch.float64).to(dtype)):
        limit = torch.finfo(dtype).max
        raise ParameterError(
            f"'{name}' has a value of {largest:.4g} after folding, and {word} ends at {limit:.4g}. "
            "Choose a wider dtype, for example float32."
        )
    return block.to(dtype)

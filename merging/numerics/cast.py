"""Whether merged factors fit into the numbers of their file."""

import torch
from torch import Tensor

from medley.errors import ParameterError
from medley.lm.adapter_writer import is_finite


def check_fits(module: str, factors: tuple[Tensor, Tensor], dtype: str) -> None:
    """Nothing, if the factors stayed finite when they were cast.

    Args:
        module: its name.
        factors: (B, A) in the dtype of the file.
        dtype: that dtype's name.

    Raises:
        ParameterError: a number was too large; says the module and what to choose instead.
    """
    if all(is_finite(factor) for factor in factors):
        return
    largest = torch.finfo(factors[0].dtype).max
    advice = "Set out_dtype: bfloat16 or float32." if dtype == "float16" else "Set smaller weights."
    raise ParameterError(
        f"The result of {module} does not fit into {dtype}, whose largest number is {largest:.6g}. {advice}"
    )

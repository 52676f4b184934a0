"""A repair for IA3 on 4-bit bases: peft 0.21 multiplies in float32 there and leaves the result so.

The layers behind it then meet a number type that their weights do not have, and torch refuses.
"""

import torch
from torch import nn


def keep_number_types(model: nn.Module) -> None:
    """From now on every IA3 layer of the model gives its result in the type of its input; other layers are left."""
    from peft.tuners.ia3 import IA3Layer

    for module in model.modules():
        if isinstance(module, IA3Layer):
            module.register_forward_hook(_like_the_input)


def _like_the_input(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    return output.to(inputs[0].dtype)

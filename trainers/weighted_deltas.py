"""Adapters added to a base's layers with weights that a gradient reaches: y += Σᵢ wᵢ·(x Aᵢᵀ) Bᵢᵀ.

The factors are stacked per module and frozen, as in LoRA Soups (2410.13025, eq. 3); only the weights are learned.

Legend: N adapters, G groups of modules that share their weights, R the stacked rank of a module.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

Factors = tuple[Tensor, Tensor]  # (B, A), the scale in B
LAYER = re.compile(r"(?:^|\.)(\d+)\.")


def layer_of(module: str) -> int:
    """The layer that a module belongs to; 0 for one outside the layers, as recipes count it."""
    found = LAYER.search(module)
    return int(found[1]) if found else 0


class WeightedDeltas(nn.Module):
    """The weights, and the hooks that add what they weigh.

    Args:
        model: the base; its parameters are frozen.
        adapters: for each, module name -> (B, A) with the scale in B.
        layers: how many groups there are; 1 gives every module the same weights.

    Attributes:
        weights_GN: the weights, float32.
    """

    def __init__(self, model: nn.Module, adapters: Sequence[Mapping[str, Factors]], *, layers: int) -> None:
        super().__init__()
        model.requires_grad_(False)
        self.weights_GN = nn.Parameter(torch.full((layers, len(adapters)), 1.0 / len(adapters)))
        dtype, device = model.dtype, model.device
        self._handles = []
        for name in sorted({name for adapter in adapters for name in adapter}):
            held = [(index, adapter[name]) for index, adapter in enumerate(adapters) if name in adapter]
            a_RI = torch.cat([a for _, (_, a) in held]).to(device, dtype)
            b_OR = torch.cat([b for _, (b, _) in held], dim=1).to(device, dtype)
            owner_R = torch.tensor([index for index, (_, a) in held for _ in range(a.shape[0])])
            group = layer_of(name) if layers > 1 else 0
            hook = self._hook(group, owner_R, a_RI, b_OR)
            self._handles.append(model.get_submodule(name).register_forward_hook(hook))

    def _hook(self, group: int, owner_R: Tensor, a_RI: Tensor, b_OR: Tensor) -> Callable[..., Tensor]:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            weight_R = self.weights_GN[group, owner_R].to(output.dtype)
            return output + ((inputs[0] @ a_RI.T) * weight_R) @ b_OR.T

        return add

    @torch.no_grad()
    def set(self, weights: Sequence[float]) -> None:
        """The same weights in every group."""
        self.weights_GN.copy_(torch.tensor(weights).expand_as(self.weights_GN))

    def values(self) -> list[list[float]]:
        """Per adapter, its weight in each group."""
        return self.weights_GN.detach().T.tolist()

    def detach_hooks(self) -> None:
        """The model is the bare base again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

"""Blends of LoRA adapters added to a base model's linear layers, a blend for each row of the batch.

The factors of all adapters in use are stacked per module: A is (R, in) and B is (out, R) with R the sum of their ranks.
A row's blend is R coefficients: y += ((x Aᵀ) · c) Bᵀ. Another blend is other coefficients; no weight moves. Layers that
read the same input (q, k, v; gate, up) share one product with their stacked A.

Legend: N rows of the batch, T tokens of a row, R stacked rank.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from medley.errors import IncompatibleError
from medley.lm.blend_weights import RowWeights

Factors = tuple[torch.Tensor, torch.Tensor]  # (B, A), the scale in B

SHARED_INPUT = (frozenset({"q_proj", "k_proj", "v_proj"}), frozenset({"gate_proj", "up_proj"}))
FEW_TOKENS = 64  # up to here a CPU multiplies small matrices faster in float32 than in bfloat16


class _Group:
    """Modules that read the same input, with their stacked factors."""

    def __init__(self, names: Sequence[str], adapters: Sequence[Mapping[str, Factors]]) -> None:
        owner: list[int] = []  # which adapter each stacked rank belongs to
        self.slices: dict[str, slice] = {}
        self.b_t: dict[str, torch.Tensor] = {}  # (R of the module, out)
        a_parts = []
        for name in names:
            held = [(index, adapter[name]) for index, adapter in enumerate(adapters) if name in adapter]
            start = len(owner)
            for index, (_, a) in held:
                a_parts.append(a)
                owner.extend([index] * a.shape[0])
            self.slices[name] = slice(start, len(owner))
            self.b_t[name] = torch.cat([b.t() for _, (b, _) in held]).contiguous()
        self.a = torch.cat(a_parts)
        self._converted: dict[torch.dtype, tuple[torch.Tensor, dict[str, torch.Tensor]]] = {}
        self._owner = torch.tensor(owner)
        self._coefficients: torch.Tensor | None = None  # (N, 1, R) float32
        self._input: torch.Tensor | None = None
        self._hidden: torch.Tensor | None = None

    def set_coefficients(self, weights: RowWeights) -> None:
        """The weights of the rows, by adapter, as one number for each stacked rank."""
        parts = [
            weights.by_module.get(name, weights.everywhere)[:, self._owner[part]] for name, part in self.slices.items()
        ]
        self._coefficients = torch.cat(parts, dim=1).unsqueeze(1).to(self.a.device)
        self.forget_input()

    def forget_input(self) -> None:
        self._input = self._hidden = None

    def factors_in(self, dtype: torch.dtype) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """A and each module's Bᵀ in this number type, converted once: converting costs more than the product."""
        if dtype not in self._converted:
            self._converted[dtype] = (self.a.to(dtype), {name: b_t.to(dtype) for name, b_t in self.b_t.items()})
        return self._converted[dtype]

    def hook(self, name: str) -> Callable[..., torch.Tensor]:
        """A forward hook that adds the row's own blend of deltas to what the module `name` gives, in place."""
        part = self.slices[name]

        def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            x = inputs[0]
            if x is not self._input:
                self._input, self._hidden = x, self._project(x)
            hidden = self._hidden[:, part]
            flat = output.view(-1, output.shape[-1])
            b_t = self.factors_in(hidden.dtype)[1][name]
            if hidden.dtype is flat.dtype:
                flat.addmm_(hidden, b_t)
            else:
                flat.add_(hidden @ b_t)
            return output

        return add

    def _project(self, x: torch.Tensor) -> torch.Tensor:
        """(x Aᵀ) · c as (N·T, R).

        In float32 for a few tokens on a CPU: there a bf16 product costs some 20 microseconds however small it is, and
        while answering token by token these small products are all there is.
        """
        rows = self._coefficients.shape[0]
        if rows > 1 and (x.dim() != 3 or x.shape[0] != rows):
            raise IncompatibleError(
                "This base mixes the rows of a batch inside a layer that an adapter changes (as mixtures of experts "
                "do), so blends cannot answer side by side on it. Ask one pane at a time."
            )
        count = x.numel() // x.shape[-1]
        if x.is_cpu and count <= FEW_TOKENS:
            hidden = F.linear(x.float(), self.factors_in(torch.float32)[0]).view(rows, count // rows, -1)
            hidden.mul_(self._coefficients)
        else:
            hidden = F.linear(x, self.factors_in(x.dtype)[0]).view(rows, count // rows, -1)
            hidden.mul_(self._coefficients.to(x.dtype))
        return hidden.view(count, -1)


class BlendLayers:
    """The stacked factors of some adapters, ready to be attached to the model they fit.

    Args:
        model: the base.
        adapters: for each, module name -> (B, A) on the model's device, the scale already in B.
    """

    def __init__(self, model: nn.Module, adapters: Sequence[Mapping[str, Factors]]) -> None:
        self._model = model
        names = {name for adapter in adapters for name in adapter}
        self._groups = [(group, _Group(group, adapters)) for group in group_by_input(names)]
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def attach(self, weights: torch.Tensor | RowWeights) -> None:
        """From now on the model adds the blends to what its layers give.

        Args:
            weights: (N, adapters), a row's weight of each adapter; or with those of single modules.
        """
        self.set_weights(weights)
        for names, group in self._groups:
            for name in names:
                self._handles.append(self._model.get_submodule(name).register_forward_hook(group.hook(name)))

    def set_weights(self, weights: torch.Tensor | RowWeights) -> None:
        """Other blends, or fewer rows."""
        rows = weights if isinstance(weights, RowWeights) else RowWeights(weights, {})
        for _, group in self._groups:
            group.set_coefficients(rows)

    def detach(self) -> None:
        """The model is the bare base again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for _, group in self._groups:
            group.forget_input()


def group_by_input(names: set[str]) -> list[list[str]]:
    """Module names, those that read the same input together, in a fixed order."""
    groups: dict[tuple[str, object], list[str]] = {}
    for name in sorted(names):
        parent, _, leaf = name.rpartition(".")
        shared = next((each for each in SHARED_INPUT if leaf in each), leaf)
        groups.setdefault((parent, shared), []).append(name)
    return list(groups.values())

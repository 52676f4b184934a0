"""One base in memory that speaks with several voices: the policy, its reference, a value function, reward models.

A voice is a set of LoRA factors. All of them live beside the same base weights, and a forward pass runs with one of
them, or with none. peft holds the policy's factors (and writes them at the end), but its layers are switched off: they
would keep a float32 copy of every layer's input for the backward pass.

Legend: T tokens in all rows, r rank.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from medley.errors import IncompatibleError
from medley.lm.adapter_file import AdapterFile, open_adapter
from medley.lm.adapter_tensors import iterate_scaled_factors

PREFIX = "base_model.model."


@dataclass(frozen=True)
class Factors:
    """A (r, in), B (out, r) and the scale of their product."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float


Voice = Mapping[str, Factors]  # module name, as in the base -> factors


class _AddDelta(torch.autograd.Function):
    """output + scale · (x Aᵀ) Bᵀ in the base's number type; float32 factors get float32 gradients.

    Kept for the backward pass: x itself (shared by the layers that read it) and the small product.
    """

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> torch.Tensor:
        x_T = x.reshape(-1, x.shape[-1])
        hidden_Tr = x_T @ a.to(x.dtype).t()
        ctx.save_for_backward(x_T, hidden_Tr, a, b)
        ctx.scale, ctx.x_shape = scale, x.shape
        return torch.addmm(
            output.reshape(-1, output.shape[-1]), hidden_Tr, b.to(x.dtype).t(), alpha=scale
        ).view(output.shape)  # fmt: skip

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        x_T, hidden_Tr, a, b = ctx.saved_tensors
        gradient_T = gradient.reshape(-1, gradient.shape[-1])
        hidden_gradient_Tr = (gradient_T @ b.to(x_T.dtype)) * ctx.scale
        a_gradient = (hidden_gradient_Tr.t() @ x_T).to(a.dtype)
        b_gradient = (gradient_T.t() @ hidden_Tr).to(b.dtype) * ctx.scale
        x_gradient = None
        if ctx.needs_input_grad[1]:
            x_gradient = (hidden_gradient_Tr @ a.to(x_T.dtype)).view(ctx.x_shape)
        return gradient, x_gradient, a_gradient, b_gradient, None


class SharedBase:
    """The base under all voices.

    Args:
        model: what `attach_adapter` gave; its adapter "default" is the policy.

    Attributes:
        lm: the causal language model itself.
        policy: the policy's factors; they are parameters, and the only ones that need gradients.

    Raises:
        IncompatibleError: the policy is not a plain LoRA.
    """

    def __init__(self, model: PeftModel) -> None:
        self.lm = model.base_model.model
        self.policy = policy_factors(model)
        model.base_model.disable_adapter_layers()
        for factors in self.policy.values():
            factors.a.requires_grad_(True)
            factors.b.requires_grad_(True)
        self._voice: Voice | None = None
        self._hooked: set[str] = set()
        self.make_room(self.policy)

    @property
    def device(self) -> torch.device:
        return next(iter(self.policy.values())).a.device

    @property
    def hidden_size(self) -> int:
        return self.lm.get_input_embeddings().weight.shape[-1]

    def make_room(self, voice: Voice) -> None:
        """Let this voice be heard in every layer that it changes.

        Raises:
            IncompatibleError: it changes a layer that this base does not have.
        """
        for name in sorted(set(voice) - self._hooked):
            try:
                layer = self.lm.get_submodule(name)
            except AttributeError:
                raise IncompatibleError(f"An adapter changes {name}, which this base does not have.") from None
            layer.register_forward_hook(self._hook(name))
            self._hooked.add(name)

    @contextmanager
    def speaking(self, voice: Voice | None) -> Iterator[None]:
        """Forward passes inside run with this voice; None is the bare base.

        With gradient checkpointing the backward pass runs layers again, so it belongs inside as well.
        """
        before, self._voice = self._voice, voice
        try:
            yield
        finally:
            self._voice = before

    def _hook(self, name: str) -> Any:
        def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            factors = self._voice.get(name) if self._voice else None
            return output if factors is None else _AddDelta.apply(output, inputs[0], *_parts(factors))

        return add


def _parts(factors: Factors) -> tuple[torch.Tensor, torch.Tensor, float]:
    return factors.a, factors.b, factors.scale


def policy_factors(model: PeftModel) -> dict[str, Factors]:
    """The trainable adapter's own parameters, by module.

    Raises:
        IncompatibleError: some layer is not a plain LoRA.
    """
    found = {}
    for full_name, layer in model.named_modules():
        if not isinstance(layer, BaseTunerLayer) or layer is model.base_model:
            continue
        name = full_name.removeprefix(PREFIX)
        is_plain = isinstance(layer, LoraLayer) and "default" in layer.lora_A and not layer.lora_variant
        if not is_plain or layer.lora_bias["default"]:
            raise IncompatibleError(
                f"PPO trains plain LoRA adapters only, and {name} has something else (DoRA, IA3, a bias or an "
                f"embedding). Start from a LoRA adapter, or choose type lora."
            )
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        found[name] = Factors(a, b, float(layer.scaling["default"]))
    if not found:
        raise IncompatibleError("PPO trains LoRA adapters only, and this one has no LoRA layer.")
    return found


def frozen_copy(voice: Voice, dtype: torch.dtype) -> dict[str, Factors]:
    """The same voice, held still; in `dtype`, which is what a forward pass casts it to anyway."""
    return {
        name: Factors(each.a.detach().to(dtype, copy=True), each.b.detach().to(dtype, copy=True), each.scale)
        for name, each in voice.items()
    }


def read_voice(adapter: AdapterFile, device: torch.device, dtype: torch.dtype) -> dict[str, Factors]:
    """The factors in an adapter's file."""
    return {
        name: Factors(a.to(device, dtype), b.to(device, dtype), 1.0) for name, (b, a) in iterate_scaled_factors(adapter)
    }


def open_plain_lora(folder: Path) -> AdapterFile:
    """The adapter in `folder`, if its LoRA factors are all there is to its layers.

    Raises:
        IncompatibleError: it is another kind of adapter, or a LoRA with more than factors.
    """
    adapter = open_adapter(folder)
    config = adapter.config
    if config.peft_type != "LORA" or config.use_dora or config.lora_bias or not adapter.modules:
        kind = "DoRA" if config.use_dora else config.peft_type
        raise IncompatibleError(f"PPO shares one base among plain LoRA adapters, and {folder.name} is {kind}.")
    return adapter

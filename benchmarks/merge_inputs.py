"""Synthetic adapters for the merge benchmark: in memory, as folders, and inside peft."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Factors = tuple[Tensor, Tensor]

WIDTH, NARROW, WIDE = 4096, 11008, 14336  # of a Llama of 7 or 8 billion weights


def random_factors(rows: int, columns: int, rank: int, seed: int) -> Factors:
    """One adapter's (B, A) for one module; float32."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, rank, generator=generator) / rows, torch.randn(rank, columns, generator=generator)


def random_modules(count: int, size: int, *, adapters: int, rank: int) -> list[list[Factors]]:
    """Per module the factors of every adapter."""
    return [
        [random_factors(size, size, rank, adapters * module + index) for index in range(adapters)]
        for module in range(count)
    ]


def llama_shapes(layers: int) -> dict[str, tuple[int, int]]:
    """Module to (rows, columns): seven to a layer, with inner sizes of 11008 and 14336 in turns."""
    shapes = {}
    for layer in range(layers):
        inner = WIDE if layer % 2 else NARROW
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"model.layers.{layer}.self_attn.{name}"] = (WIDTH, WIDTH)
        for name in ("gate_proj", "up_proj"):
            shapes[f"model.layers.{layer}.mlp.{name}"] = (inner, WIDTH)
        shapes[f"model.layers.{layer}.mlp.down_proj"] = (WIDTH, inner)
    return shapes


def write_random_adapter(
    folder: Path, shapes: Mapping[str, tuple[int, int]], *, rank: int, seed: int, base_model: str
) -> Path:
    """A bf16 adapter folder of these modules, small enough in effect not to break a model that it is folded into."""
    from medley.lm.adapter_writer import AdapterWriter

    generator = torch.Generator().manual_seed(seed)
    with AdapterWriter(folder, list(shapes), base_model=base_model, dtype=torch.bfloat16) as writer:
        for name in writer.names:
            rows, columns = shapes[name]
            b = torch.randn(rows, rank, generator=generator) * 0.01
            writer.add(name, b, torch.randn(rank, columns, generator=generator) / columns**0.5)
    return folder


def time_peft(
    modules: Sequence[Sequence[Factors]], weights: Sequence[float], combination: str, **settings: Any
) -> tuple[float, Factors]:
    """Seconds per module of peft's `add_weighted_adapter`, and the factors of the last module's result."""
    from peft import LoraConfig, get_peft_model

    seconds, merged = 0.0, None
    for inputs in modules:
        (b, a), rank = inputs[0], inputs[0][0].shape[1]
        base = nn.Sequential(nn.Linear(a.shape[1], b.shape[0], bias=False))
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=["0"])
        model = get_peft_model(base, config, adapter_name="0")
        names = [str(index) for index in range(len(inputs))]
        for name in names[1:]:
            model.add_adapter(name, config)
        layer = model.base_model.model[0]
        with torch.no_grad():
            for name, (b, a) in zip(names, inputs, strict=True):
                layer.lora_B[name].weight.copy_(b)
                layer.lora_A[name].weight.copy_(a)
        started = time.perf_counter()
        model.add_weighted_adapter(names, list(weights), "merged", combination_type=combination, **settings)
        seconds += time.perf_counter() - started
        scale = layer.scaling["merged"]
        merged = scale * layer.lora_B["merged"].weight.detach(), layer.lora_A["merged"].weight.detach()
    assert merged is not None
    return seconds / len(modules), merged

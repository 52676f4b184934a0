"""LoRA adapter folders written by hand, and what they mean as dense float64 deltas: the oracle of the merge tests."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

BASE = "medley-tests/base"
SHAPES = {"model.layers.0.self_attn.q_proj": (6, 5), "model.layers.1.mlp.down_proj": (7, 4)}
Factors = tuple[torch.Tensor, torch.Tensor]


def random_factors(rows: int, columns: int, rank: int, seed: int) -> Factors:
    """A (B, A) of standard normal numbers, float32."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator)


def write_lora(
    folder: Path, modules: Mapping[str, Factors], *, dtype: torch.dtype = torch.float32, **config: Any
) -> Path:
    """An adapter folder as peft lays it out, with exactly these factors (not scaled) and these settings."""
    first = next(iter(modules.values()))
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": BASE,
        "r": first[0].shape[1],
        "lora_alpha": first[0].shape[1],
        "target_modules": sorted(modules),
    }
    tensors = {}
    for name, (b, a) in modules.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = a.to(dtype).contiguous().clone()
        tensors[f"base_model.model.{name}.lora_B.weight"] = b.to(dtype).contiguous().clone()
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(settings | config), encoding="utf-8")
    return folder


def random_lora(folder: Path, seed: int, rank: int = 2, **settings: Any) -> Path:
    """An adapter of both modules of SHAPES with random factors."""
    modules = {
        name: random_factors(*shape, rank, seed * 100 + index) for index, (name, shape) in enumerate(SHAPES.items())
    }
    return write_lora(folder, modules, **settings)


def dense_deltas(folder: Path) -> dict[str, torch.Tensor]:
    """Every module's ΔW = scale · B · A in float64, with peft's own rules for the scale written out again."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "adapter_model.safetensors")
    deltas = {}
    for key, a in tensors.items():
        if not key.endswith(".lora_A.weight"):
            continue
        name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        b = tensors[key.replace(".lora_A.", ".lora_B.")]
        rank = _from_pattern(config.get("rank_pattern"), name, config["r"])
        alpha = _from_pattern(config.get("alpha_pattern"), name, config["lora_alpha"])
        scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
        deltas[name] = scale * b.double() @ a.double()
    return deltas


def _from_pattern(pattern: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    return next((value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", name)), default)


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())

"""Small adapters written without torch, and a registry that holds one with its base and its data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub import Parent, Registry, Version

BASE = "medley-tests/tiny-llama"
RECIPE = "trainer: sft\nbase: tiny\ndata: pirate-rows\nlearning_rate: 0.0002\n"


def config(**changes: Any) -> bytes:
    """An adapter_config.json as peft writes it, with changes."""
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": BASE, "r": 2, "lora_alpha": 4}
    settings |= {"target_modules": ["q_proj"], "use_rslora": False, "use_dora": False, "bias": "none", **changes}
    return json.dumps(settings, indent=2, sort_keys=True).encode()


def weights(seed: int = 0, metadata: Mapping[str, str] | None = None) -> bytes:
    """The LoRA factors of one module, rank 2, hidden size 32."""
    import numpy
    from safetensors.numpy import save

    random = numpy.random.default_rng(seed)
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    shapes = {f"{prefix}.lora_A.weight": (2, 32), f"{prefix}.lora_B.weight": (32, 2)}
    tensors = {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    return save(tensors, metadata=dict(metadata or {"format": "pt"}))


def adapter_files(**more: bytes) -> dict[str, bytes]:
    """The two files of an adapter; names of further files are written with '__' for '.'."""
    named = {name.replace("__", "."): data for name, data in more.items()}
    return {"adapter_config.json": config(), "adapter_model.safetensors": weights(), **named}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def publish_pirate(
    registry: Registry,
    folder: Path,
    files: Mapping[str, bytes] | None = None,
    *,
    base: str | None = BASE,
    recipe: str | None = RECIPE,
    **metadata: Any,
) -> Version:
    """The adapter "pirate" with a base and a dataset as parents; `folder` must not exist yet."""
    tiny = registry.publish("base", "tiny", write(folder / "base", {"base.json": b"{}"}), base=base)
    rows = {"rows": {"train": 60, "eval": 6}, "format": "alpaca", "licence": "mit", "source": "ada/pirate-rows"}
    data = registry.publish("dataset", "pirate-rows", write(folder / "data", {"train.jsonl": b"{}\n"}), metadata=rows)
    about = {"trainer": "sft", "rank": 2, "targets": ["q_proj"], "parameters": 128, "trained_on": "bf16", **metadata}
    return registry.publish(
        "adapter",
        "pirate",
        write(folder / "adapter", adapter_files() if files is None else files),
        base=base,
        parents=[Parent(tiny.id, "base"), Parent(data.id, "data")],
        recipe=recipe,
        metadata=about,
    )

"""Adapter folders written by hand, byte by byte, so that tests can break them in one place."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I64": 8}
MODULE = "model.layers.0.self_attn.q_proj"


def config_dict(**changes: Any) -> dict[str, Any]:
    """A small good configuration of rank 4, changed."""
    good = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "medley-tests/tiny-llama",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj"],
        "megatron_core": "megatron.core",
    }
    return {**good, **changes}


def write_config(folder: Path, **changes: Any) -> Path:
    """Write adapter_config.json into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(config_dict(**changes)), encoding="utf-8")
    return path


def header_of(shapes: Mapping[str, tuple[int, ...]], dtype: str = "F32") -> dict[str, Any]:
    """The header entries of tensors that lie one after the other."""
    entries, position = {}, 0
    for name, shape in shapes.items():
        size = WIDTHS[dtype]
        for length in shape:
            size *= length
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    return entries


def safetensors_bytes(header: Mapping[str, Any] | bytes, data: bytes | None = None) -> bytes:
    """The bytes of a safetensors file; the data are zeros of the length that the header wants."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    if data is None:
        entries = json.loads(text)
        data = bytes(max(entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"))
    return len(text).to_bytes(8, "little") + text + data


def write_safetensors(folder: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "F32") -> Path:
    """Write adapter_model.safetensors with zeros of these shapes into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "adapter_model.safetensors"
    path.write_bytes(safetensors_bytes(header_of(shapes, dtype)))
    return path


def write_adapter(folder: Path, *, dtype: str = "F32", modules: tuple[str, ...] = (MODULE,), **changes: Any) -> Path:
    """A whole good adapter of rank 4 on modules of 8x8; `changes` go into the configuration."""
    write_config(folder, **changes)
    shapes = {}
    for module in modules:
        shapes[f"base_model.model.{module}.lora_A.weight"] = (4, 8)
        shapes[f"base_model.model.{module}.lora_B.weight"] = (8, 4)
    write_safetensors(folder, shapes, dtype)
    return folder

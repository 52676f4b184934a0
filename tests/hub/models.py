"""Small full models written without torch, whole or in shards, and one in a registry with what it was made from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub import Parent, Registry, Version
from tests.hub.adapters import BASE, write

RECIPE = "merge_method: linear\nmodels:\n- model: ada/left\n  parameters: {weight: 0.5}\n- model: ada/right\n"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def model_config(**changes: Any) -> bytes:
    settings = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4,
        "vocab_size": 3,
        **changes,
    }
    return json.dumps(settings, indent=2).encode()


def tensors(seed: int = 0, rows: int = 3) -> dict[str, Any]:
    """An embedding and one layer: (rows + 4) * 4 numbers."""
    import numpy

    random = numpy.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (rows, 4), "model.layers.0.self_attn.q_proj.weight": (4, 4)}
    return {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def save(values: Mapping[str, Any]) -> bytes:
    from safetensors.numpy import save as save_tensors

    return save_tensors(dict(values), metadata={"format": "pt"})


def model_files(**more: bytes) -> dict[str, bytes]:
    """A whole model in one weights file; names of further files are written with '__' for '.'."""
    named = {name.replace("__", "."): data for name, data in more.items()}
    files = {
        "config.json": model_config(),
        "tokenizer.json": b'{"version": "1.0"}',
        "model.safetensors": save(tensors()),
    }
    return {**files, "generation_config.json": b'{"eos_token_id": 2}', **named}


def sharded_files(seed: int = 0, **more: bytes) -> dict[str, bytes]:
    """The same model in two shards with their index."""
    files = model_files(**more)
    del files["model.safetensors"]
    parts = tensors(seed)
    weight_map = dict(zip(parts, SHARDS, strict=True))
    index = {"metadata": {"total_size": 112}, "weight_map": weight_map}
    shards = {shard: save({name: parts[name]}) for name, shard in weight_map.items()}
    return {**files, **shards, "model.safetensors.index.json": json.dumps(index, indent=2).encode()}


def publish_mixed(
    registry: Registry, folder: Path, files: Mapping[str, bytes] | None = None, *, recipe: str = RECIPE, **metadata: Any
) -> Version:
    """The merged model "mixed", made from a base and a model; `folder` must not exist yet."""
    base = registry.publish("base", "tiny", write(folder / "base", {"base.json": b"{}"}), base=BASE)
    half = registry.publish(
        "model", "half", write(folder / "half", model_files()), metadata={"source": "ada/left@" + "1" * 40}
    )
    about = {"trainer": "merge", "method": "linear", "engine": "mergekit", "parameters": 28, "dtype": "float32"}
    return registry.publish(
        "model",
        "mixed",
        write(folder / "mixed", {**sharded_files(), "recipe.yaml": recipe.encode()} if files is None else files),
        base=BASE,
        parents=[Parent(base.id, "base"), Parent(half.id, "input")],
        recipe=recipe,
        metadata={**about, **metadata},
    )

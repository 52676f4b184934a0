"""Small base folders for folding, and adapters on them with their factors written out again."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from merging import FoldInput
from tests.merging.lora_files import random_factors, write_lora

QUERY, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"
SHAPES = {QUERY: (6, 5), DOWN: (7, 4)}


def write_base(folder: Path, dtype: torch.dtype = torch.bfloat16, *, shards: int = 1, **config: object) -> Path:
    """A folder that looks like a base: the two matrices of SHAPES, an embedding, a norm in float32, a tokenizer."""
    generator = torch.Generator().manual_seed(5)
    tensors = {f"{name}.weight": torch.randn(*shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
    tensors["model.embed_tokens.weight"] = torch.randn(9, 5, generator=generator).to(dtype)
    tensors["model.norm.weight"] = torch.randn(5, generator=generator)
    folder.mkdir(parents=True)
    names = sorted(tensors)
    for shard in range(shards):
        part = {name: tensors[name] for name in names[shard::shards]}
        save_file(part, folder / f"model-{shard + 1:05d}-of-{shards:05d}.safetensors", metadata={"format": "pt"})
    settings = {"model_type": "llama", "tie_word_embeddings": False, **config}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "notes.txt").write_text("not a part of the model")
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def three_adapters(folder: Path) -> tuple[list[FoldInput], dict[str, list[tuple[torch.Tensor, torch.Tensor]]]]:
    """Adapters that differ in everything that makes a scale, and per tensor the (weight · scale · B, A) written out."""
    pairs = {name: [random_factors(*shape, rank, seed) for seed, rank in ((1, 2), (2, 4), (3, 3))]
             for name, shape in SHAPES.items()}  # fmt: skip
    modules = [{name: pairs[name][index] for name in SHAPES} for index in range(3)]
    folders = [
        write_lora(folder / "plain", modules[0], lora_alpha=3),
        write_lora(folder / "rslora", modules[1], lora_alpha=6, use_rslora=True, dtype=torch.bfloat16),
        write_lora(folder / "patterned", {QUERY: modules[2][QUERY]}, alpha_pattern={"q_proj": 12}),
    ]
    weights = [0.5, -0.25, 2.0]
    scales = [3 / 2, 6 / 4**0.5, 12 / 3]
    factors = {
        name: [
            ((pairs[name][i][0].to(dtype).float() * (weights[i] * scales[i])), pairs[name][i][1].to(dtype).float())
            for i, dtype in enumerate([torch.float32, torch.bfloat16, torch.float32])
            if i < 2 or name == QUERY
        ]
        for name in SHAPES
    }
    return [FoldInput(each, weight) for each, weight in zip(folders, weights, strict=True)], factors

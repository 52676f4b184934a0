"""A family of tiny random Llamas with one tokenizer, and what mergekit itself makes of a recipe."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

LAYERS = 4
NAMES = ("base", "writer", "coder", "chat")


def write_family(tiny_base: Path, folder: Path) -> dict[str, str]:
    """Four models of one shape; the recipes' names `org/<name>` to their folders."""
    return {f"org/{name}": str(write_model(tiny_base, folder / name, seed)) for seed, name in enumerate(NAMES)}


def write_model(tiny_base: Path, folder: Path, seed: int, **config: Any) -> Path:
    """A random Llama of four layers with the tiny base's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": 384,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "tie_word_embeddings": True,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(LlamaConfig(**settings | config)).save_pretrained(folder)
    for path in tiny_base.iterdir():
        if path.name.startswith(("tokenizer", "chat_template", "special")):
            shutil.copyfile(path, folder / path.name)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def mergekit_alone(values: dict[str, Any], out_dir: Path, seed: int = 0) -> dict[str, torch.Tensor]:
    """What mergekit's own command makes of plain values."""
    from mergekit.config import MergeConfiguration
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    options = MergeOptions(lora_merge_cache=str(out_dir) + "-loras", random_seed=seed, quiet=True)
    run_merge(MergeConfiguration.model_validate(values), str(out_dir), options)
    LoaderCache.loaders.clear()
    return weights(out_dir)


def linear(*folders: str, **keys: object) -> dict[str, Any]:
    """The recipe that averages them."""
    return {"merge_method": "linear", "models": [{"model": str(each), "parameters": {"weight": 1}} for each in folders],
            **keys}  # fmt: skip

"""Fine-tuned copies of the tiny base, and what plain peft and transformers make of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

WEIGHTS = "model.safetensors"
TOKENS = torch.tensor([[1, 5, 9, 30, 77, 120, 300, 2]])


def fine_tuned(base: Path, folder: Path, change: Callable[[str, Tensor], Tensor], **config: object) -> Path:
    """A copy of `base` whose every tensor went through `change(name, tensor)`; `config` replaces settings."""
    shutil.copytree(base, folder)
    tensors = {name: change(name, tensor).contiguous() for name, tensor in load_file(base / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    if config:
        settings = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(settings))
    return folder


def noise(name: str, shape: torch.Size, scale: float = 0.05) -> Tensor:
    """Full-rank noise that depends on the name alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(name.encode()))) * scale


def shake_linears(name: str, tensor: Tensor) -> Tensor:
    """Every linear weight changed at full rank, nothing else."""
    return tensor + noise(name, tensor.shape) if "_proj" in name else tensor


def shake_all(name: str, tensor: Tensor) -> Tensor:
    """Everything changed."""
    return tensor + noise(name, tensor.shape)


def logits(base: Path, adapter: Path | None = None) -> Tensor:
    """The logits of a model, with an adapter that plain peft loads; every tensor of the adapter must be used."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        return model(TOKENS).logits


def written_deltas(adapter: Path) -> dict[str, Tensor]:
    """B @ A of every module of an adapter file, by the module's name."""
    tensors = load_file(adapter / "adapter_model.safetensors")
    names = [key.removesuffix(".lora_A.weight") for key in tensors if key.endswith(".lora_A.weight")]
    return {
        name.removeprefix("base_model.model."): tensors[f"{name}.lora_B.weight"].double()
        @ tensors[f"{name}.lora_A.weight"].double()
        for name in names
    }

"""A fresh or continued LoRA adapter on a loaded base, and its folder at the end: no pickles, no local path."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from medley.errors import ParameterError
from medley.lm.adapter_file import CONFIG_FILE, open_adapter
from trainers.options import AdapterOptions


def attach_adapter(model: Any, options: AdapterOptions, init_adapter: Path | None) -> PeftModel:
    """The base with a trainable adapter named "default".

    A fresh adapter starts at zero delta (B = 0). One continued from `init_adapter` keeps its own rank, alpha and
    targets: the options of the same names do not apply to it.

    Raises:
        ParameterError: no module of the base has a name in `options.targets`.
        AdapterFormatError: `init_adapter` is not a readable adapter.
    """
    if init_adapter is not None:
        open_adapter(init_adapter)
        return PeftModel.from_pretrained(model, str(init_adapter), is_trainable=True)
    return wrap(model, lora_config(options))


def wrap(model: Any, config: LoraConfig) -> PeftModel:
    """The base with a fresh adapter of this configuration.

    Raises:
        ParameterError: no module of the base has a name in its `target_modules`.
    """
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        if "target modules" not in str(error).lower():
            raise
        names = ", ".join(sorted({name.rpartition(".")[2] for name, part in model.named_modules() if _is_linear(part)}))
        raise ParameterError(
            f"targets {', '.join(config.target_modules)} match no module of this base. "
            f"Use all-linear, or some of: {names}."
        ) from error


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


def lora_config(options: AdapterOptions) -> LoraConfig:
    """peft's configuration for these options."""
    targets: str | list[str] = list(options.targets)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=options.rank,
        lora_alpha=2 * options.rank if options.alpha is None else options.alpha,
        lora_dropout=options.dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        use_rslora=options.rslora,
    )


def save_adapter(model: PeftModel, folder: Path, *, base_id: str, base_revision: str | None) -> Path:
    """Write the adapter so that any peft loads it and two equal runs give equal bytes.

    peft names the base by the folder it was loaded from, which would publish a path of this machine, and writes the
    target modules in the order of a set: both are put right here.
    """
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty card; the registry writes a real one
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"], config["revision"] = base_id, base_revision
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder

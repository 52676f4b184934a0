"""A fresh or continued adapter of any kind on a loaded base, and its folder at the end: no pickles, no local path."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import AdaptionPromptModel, PeftConfig, PeftModel, get_peft_model
from peft.utils import load_peft_weights, set_peft_model_state_dict

from medley.errors import ParameterError
from medley.lm.adapter_file import CONFIG_FILE, open_adapter
from medley.lm.ia3_types import keep_number_types
from medley.lm.load import leave_unpacked
from medley.options import check_together, describe
from trainers.adapter_configs import config_for, lora_config
from trainers.adapter_kinds import HOLDING_INITS, kind_of
from trainers.adapter_starts import start_from_rows, start_from_tokens, start_from_weights
from trainers.options import AdapterOptions

__all__ = ["attach_adapter", "config_for", "lora_config", "save_adapter", "start_adapter", "wrap"]

ONLY_FOR_THE_START = {  # what a configuration says of an adapter's first values; the saved ones need none of it
    "init_lora_weights": True,
    "eva_config": None,
}


def attach_adapter(
    model: Any,
    options: AdapterOptions,
    init_adapter: Path | None,
    *,
    tokenizer: Any = None,
    batches: Sequence[dict[str, torch.Tensor]] = (),
) -> PeftModel:
    """The base with a trainable adapter named "default".

    A fresh LoRA, DoRA, IA3 or LLaMA-Adapter changes nothing yet; a fresh soft prompt or prefix does what its first
    tokens would do. An adapter continued from `init_adapter` keeps its own kind, rank, alpha and targets: the options
    of the same names do not apply to it.

    Args:
        tokenizer: for `prompt_text`.
        batches: the training rows, for the start that looks at them (eva).

    Raises:
        ParameterError: no module of the base has a name in `options.targets`, the start does not fit, or
            `init_adapter` is of a kind that this trainer cannot train.
        ProblemsError: options that contradict each other.
        AdapterFormatError: `init_adapter` is not a readable adapter.
    """
    leave_unpacked(model)
    if init_adapter is not None:
        _check_start(options, open_adapter(init_adapter).config.kind)
        return continue_adapter(model, init_adapter)
    check_together(options)
    attached = wrap(model, config_for(model, options))
    start_adapter(attached, options, tokenizer, batches)
    return attached


def _check_start(options: AdapterOptions, kind: str) -> None:
    """Nothing, if a trainer of these options can go on from an adapter of this kind."""
    kinds = next((each.choices for each in describe(type(options)) if each.name == "adapter"), ("lora",))
    if kind not in kinds:
        raise ParameterError(
            f"This trainer goes on from adapters of type {', '.join(kinds)}, but the one to start from is {kind}."
        )


def wrap(model: Any, config: PeftConfig) -> PeftModel:
    """The base with a fresh adapter of this configuration.

    Raises:
        ParameterError: no module of the base has a name in its `target_modules`.
    """
    leave_unpacked(model)
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        if "target modules" not in str(error).lower():
            raise
        names = ", ".join(sorted({name.rpartition(".")[2] for name, part in model.named_modules() if _is_linear(part)}))
        raise ParameterError(
            f"targets {', '.join(sorted(config.target_modules))} match no module of this base. "
            f"Use all-linear, or some of: {names}."
        ) from error


def start_adapter(
    model: PeftModel, options: AdapterOptions, tokenizer: Any = None, batches: Sequence[dict[str, torch.Tensor]] = ()
) -> None:
    """Give a fresh adapter its first values, where peft has not given the right ones."""
    kind = kind_of(options)
    _mend(model)
    if "virtual_tokens" in kind.options:
        start_from_tokens(model, tokenizer, options.prompt_text)
    elif options.init in HOLDING_INITS:
        start_from_weights(model, options.init)
    elif options.init == "eva":
        start_from_rows(model, batches)


def continue_adapter(model: Any, folder: Path) -> PeftModel:
    """The base with the adapter in `folder`, trainable again.

    Raises:
        ParameterError: a prefix behind a projection, of which only the outcome was saved.
    """
    config = PeftConfig.from_pretrained(str(folder))
    if not config.is_prompt_learning:
        continued = PeftModel.from_pretrained(model, str(folder), is_trainable=True)
        _mend(continued)
        return continued
    if getattr(config, "prefix_projection", False):
        raise ParameterError(
            "The prefix to start from was trained with a projection, which is not saved. Start afresh."
        )
    config.inference_mode = False  # from_pretrained refuses to make a prompt trainable
    if config.peft_type == "PROMPT_TUNING":
        config.prompt_tuning_init = "RANDOM"  # the first values come from the file, not from a tokenizer by its name
    continued = get_peft_model(model, config)
    set_peft_model_state_dict(continued, load_peft_weights(str(folder), device="cpu"))
    return continued


def _mend(model: PeftModel) -> None:
    """What peft leaves in the way of training: where LLaMA-Adapter finds the base's forward, and IA3's number types.

    peft keeps the forward that the base had when a LLaMA-Adapter was attached; TRL gives the base another one later.
    """
    keep_number_types(model)
    tuner = model.base_model
    if isinstance(tuner, AdaptionPromptModel):
        tuner.forward = lambda *arguments, **named: tuner.model.forward(*arguments, **named)


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


def save_adapter(model: PeftModel, folder: Path, *, base_id: str, base_revision: str | None) -> Path:
    """Write the adapter so that any peft loads it and two equal runs give equal bytes.

    peft names the base by the folder it was loaded from, which would publish a path of this machine, and writes the
    target modules in the order of a set: both are put right here. How the adapter was started is left out, because
    loading it would start it so again.
    """
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty card; the registry writes a real one
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"], config["revision"] = base_id, base_revision
    config |= {key: value for key, value in ONLY_FOR_THE_START.items() if key in config}
    for key in ("target_modules", "feedforward_modules"):
        if isinstance(config.get(key), list):
            config[key].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder

"""peft's configuration of each kind of adapter, made from our options and the base that it is for."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft import (
    AdaptionPromptConfig,
    EvaConfig,
    IA3Config,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
)
from peft.tuners.adaption_prompt.config import TRANSFORMERS_MODEL_CONFIG
from transformers.pytorch_utils import Conv1D

from medley.errors import ParameterError
from medley.lm.base_facts import FEED_FORWARD
from trainers.adapter_kinds import HOLDING_INITS, kind_of, parse_alphas, parse_layers, parse_ranks

TASK = "CAUSAL_LM"
ALL_LINEAR = ("all-linear",)


def config_for(model: Any, options: Any) -> PeftConfig:
    """The configuration for this base.

    Raises:
        ParameterError: the base has no such layers, or the kind does not know this base's architecture.
    """
    return BUILDERS[kind_of(options).name](model, options)


def lora_config(options: Any, linear: Sequence[str] = ()) -> LoraConfig:
    """LoRA and DoRA. A start from the base's weights has twice the rank: one half of it is held fast.

    Args:
        linear: short names of all linear layers, which peft wants to have named where only some layers are chosen.
    """
    alpha = 2 * options.rank if options.alpha is None else options.alpha
    holds = options.init in HOLDING_INITS
    times = 2 if holds else 1
    alpha_times = (2**0.5 if options.rslora else 2) if holds else 1  # the scale stays that of `rank`
    targets: str | list[str] = "all-linear" if options.targets == ALL_LINEAR else list(options.targets)
    if options.layers and options.targets == ALL_LINEAR:
        targets = list(linear)
    return LoraConfig(
        task_type=TASK,
        r=options.rank * times,
        lora_alpha=alpha * alpha_times,
        lora_dropout=options.dropout,
        target_modules=targets,
        use_rslora=options.rslora,
        use_dora=kind_of(options).name == "dora",
        init_lora_weights=True if holds or options.init == "default" else options.init,
        eva_config=EvaConfig() if options.init == "eva" else None,
        layers_to_transform=parse_layers(options.layers),
        rank_pattern={name: rank * times for name, rank in parse_ranks(options.rank_pattern).items()},
        alpha_pattern={name: value * alpha_times for name, value in parse_alphas(options.alpha_pattern).items()},
    )


def _lora(model: Any, options: Any) -> LoraConfig:
    wanted = parse_layers(options.layers)
    count = model.config.get_text_config().num_hidden_layers
    if wanted and wanted[-1] >= count:
        raise ParameterError(f"layers names layer {wanted[-1]}, but this base has layers 0 to {count - 1}.")
    return lora_config(options, list(linear_names(model)))


def _ia3(model: Any, options: Any) -> IA3Config:
    """All linear layers by default, the feed-forward ones scaled at their input, as (IA)3's authors do with theirs."""
    names = linear_names(model)
    chosen = list(names) if options.targets == ALL_LINEAR else list(options.targets)
    return IA3Config(
        task_type=TASK, target_modules=chosen, feedforward_modules=[name for name in chosen if names.get(name)]
    )


def linear_names(model: Any) -> dict[str, bool]:
    """Short names of all linear layers but the head, and whether they belong to the feed-forward part."""
    head = model.get_output_embeddings()
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head:
            found[path.rpartition(".")[2]] = any(word in part for part in path.split(".") for word in FEED_FORWARD)
    return found


def _prefix(model: Any, options: Any) -> PrefixTuningConfig:
    return PrefixTuningConfig(task_type=TASK, num_virtual_tokens=options.virtual_tokens)


def _prompt(model: Any, options: Any) -> PromptTuningConfig:
    return PromptTuningConfig(task_type=TASK, num_virtual_tokens=options.virtual_tokens)


def _llama_adapter(model: Any, options: Any) -> AdaptionPromptConfig:
    known = tuple(TRANSFORMERS_MODEL_CONFIG)
    if model.config.model_type not in known:
        raise ParameterError(
            f"llama-adapter knows the architectures {', '.join(known)}, but this base is {model.config.model_type}. "
            "Take another kind of adapter."
        )
    count = model.config.num_hidden_layers
    layers = options.adapter_layers or count
    if layers > count:
        raise ParameterError(f"adapter_layers is {layers}, but this base has {count} layers.")
    return AdaptionPromptConfig(task_type=TASK, adapter_len=options.adapter_len, adapter_layers=layers)


BUILDERS: dict[str, Callable[[Any, Any], PeftConfig]] = {
    "lora": _lora,
    "dora": _lora,
    "ia3": _ia3,
    "prefix-tuning": _prefix,
    "prompt-tuning": _prompt,
    "llama-adapter": _llama_adapter,
}

"""Whether an adapter can run as a plain sum of deltas on a loaded base: right, or refused with the reason."""

from collections.abc import Iterator

from torch import nn

from medley.errors import IncompatibleError, ProblemsError
from medley.lm.adapter_file import AdapterConfig, AdapterFile

# These initialisations take B·A out of the base's weights first, so the delta is not B·A on the base itself.
CHANGES_THE_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")
VARIANTS = {  # keys of adapter_config.json that make something else out of a LoRA
    "alora_invocation_tokens": "is switched on by tokens in the text (aLoRA)",
    "arrow_config": "is routed between several adapters (Arrow)",
    "layer_replication": "replicates layers of its base",
    "monteclora_config": "draws its factors at random (MonteCLoRA)",
    "velora_config": "compresses activations (VeLoRA)",
}


def check_fit(adapter: AdapterFile, model: nn.Module) -> None:
    """Nothing, if the adapter's deltas can be added to this model's layers.

    Raises:
        IncompatibleError or ProblemsError: every reason why not.
    """
    _refuse(adapter, [*_kind(adapter), *_shapes(adapter, model)])


def is_sum_of_deltas(adapter: AdapterFile) -> bool:
    """Whether the adapter can be blended with others; one that cannot may still answer alone."""
    return not list(_kind(adapter))


def check_alone(adapter: AdapterFile) -> None:
    """Nothing, if peft can run the adapter by itself on a base that is used for others as well.

    Raises:
        IncompatibleError or ProblemsError: every reason why not.
    """
    config = adapter.config
    reasons = [*_writes_nothing(adapter), *_needs_its_own_base(config)]
    reasons += [f"{effect}, which is not supported here" for key, effect in VARIANTS.items() if config.raw.get(key)]
    _refuse(adapter, reasons)


def check_shapes(adapter: AdapterFile, model: nn.Module) -> None:
    """Nothing, if the model has every layer that the adapter changes, in its size.

    Raises:
        IncompatibleError or ProblemsError: every reason why not.
    """
    _refuse(adapter, list(_shapes(adapter, model)))


def _refuse(adapter: AdapterFile, reasons: list[str]) -> None:
    problems = [f"The adapter in {adapter.folder} {reason}." for reason in reasons]
    if len(problems) == 1:
        raise IncompatibleError(problems[0])
    if problems:
        raise ProblemsError(f"the adapter in {adapter.folder}", problems)


def _kind(adapter: AdapterFile) -> Iterator[str]:
    config = adapter.config
    if config.peft_type != "LORA":
        yield f"is of type {config.peft_type}; only LoRA adapters can be blended"
        return
    if adapter.is_reward_model:
        yield from _writes_nothing(adapter)
        return
    if config.use_dora:
        yield "uses DoRA, whose effect is not a sum of deltas; only plain LoRA can be blended"
        return  # its magnitudes would be named again as extra tensors
    if config.lora_bias:
        yield "trains biases (lora_bias), which a blend of deltas would lose"
        return
    yield from _needs_its_own_base(config)
    yield from (
        f"{effect}, which a blend of deltas would lose" for key, effect in VARIANTS.items() if config.raw.get(key)
    )
    if adapter.extra_tensors:
        count, first = len(adapter.extra_tensors), adapter.extra_tensors[0]
        yield f"holds {_count(count, 'tensor')} beside LoRA factors (the first is {first}), which a blend would lose"


def _writes_nothing(adapter: AdapterFile) -> Iterator[str]:
    if adapter.is_reward_model:
        yield "is a reward model: it scores answers and writes none; use medley score"
    elif adapter.config.task_type not in (None, "CAUSAL_LM"):
        yield f"is made for {adapter.config.task_type} and writes no answers"


def _needs_its_own_base(config: AdapterConfig) -> Iterator[str]:
    init = config.init_lora_weights
    if isinstance(init, str) and init.lower().startswith(CHANGES_THE_BASE):
        yield f"was initialised by {init}, which changes the base's weights; save it as a plain LoRA with peft first"


def _shapes(adapter: AdapterFile, model: nn.Module) -> Iterator[str]:
    modules = dict(model.named_modules())
    unknown = [name for name in adapter.modules if name not in modules]
    if unknown:
        yield f"changes {_count(len(unknown), 'module')} that the base does not have (the first is {unknown[0]})"
    wrong = []
    for name, lora in adapter.modules.items():
        size = linear_size(modules[name]) if name in modules else None
        if name in modules and size != (lora.in_features, lora.out_features):
            wrong.append((name, lora, size))
    if wrong:
        name, lora, size = wrong[0]
        there = f"{size[0]}x{size[1]} in the base" if size else "not a linear layer in the base"
        yield (
            f"was made for another base: the shape of {_count(len(wrong), 'module')} differs, the first is {name}, "
            f"{lora.in_features}x{lora.out_features} in the adapter and {there}"
        )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def linear_size(module: nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of a linear layer, 4-bit ones and GPT-2's transposed ones included; None for anything else."""
    if isinstance(module, nn.Linear) or hasattr(module, "quant_state"):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        return tuple(module.weight.shape)
    return None

"""Whether an adapter is nothing but changes of its base's tensors: what folding and other formats take for granted."""

from collections.abc import Iterator

from medley.lm.adapter_file import AdapterFile
from merging.checks.compatibility import CHANGES_THE_BASE, CONVERT_ADVICE, CONVERTIBLE, OTHER_KINDS, OTHER_MATHS

RETRAIN = "Train it as plain LoRA."


def delta_problems(name: str, adapter: AdapterFile) -> Iterator[str]:
    """Why this adapter is more, or something else; one sentence each.

    Whole tensors and DoRA's magnitudes are no problem here: they belong to tensors of the base as well.
    """
    config = adapter.config
    if config.peft_type != "LORA":
        advice = (
            CONVERT_ADVICE if config.peft_type in CONVERTIBLE else "Only LoRA adapters change weights by two factors."
        )
        yield f"'{name}' is {OTHER_KINDS[config.peft_type]}. {advice}"
        return
    if adapter.is_reward_model:
        yield f"'{name}' is a reward model, whose score head is no part of its base. Use it with: medley score"
        return
    for key, what in OTHER_MATHS.items():
        if config.raw.get(key):
            yield f"'{name}' {what}, so its delta is more than its two factors. {RETRAIN}"
    if config.lora_bias:
        yield f"'{name}' trained biases of its factors (lora_bias), which are no delta of the weights. {RETRAIN}"
    if config.raw.get("trainable_token_indices"):
        what = "trained single tokens' embeddings (trainable_token_indices), which are no low-rank delta"
        yield f"'{name}' {what}. {RETRAIN}"
    if config.raw.get("ensure_weight_tying"):
        yield f"'{name}' ties what it trained to other layers (ensure_weight_tying), which is not known here. {RETRAIN}"
    start = str(config.init_lora_weights).lower()
    if start.startswith(CHANGES_THE_BASE):
        yield (
            f"'{name}' was initialised with {start}, which also changes the base's weights, so its delta does not "
            "belong to the original base. Save it with peft's path_initial_model_for_weight_conversion first."
        )

"""Whether a learning rate is far from what its trainer and kind of adapter usually want."""

from typing import Any

from trainers.adapter_kinds import ADAPTER_KINDS
from trainers.presets import PRESETS

FAR = 10.0  # times too high or too low


def rate_warning(trainer: str, options: Any) -> str | None:
    """One sentence for a rate that is more than FAR times off the usual one, or None.

    A rate of full fine-tuning is about ten times too low for LoRA (LoRA Without Regret), and looks fine while nothing
    is learned: a loss of 0.69 in preference training is where it starts.

    Args:
        trainer: a name in `trainers.TRAINERS`.
        options: its options.
    """
    usual = usual_rate(trainer, getattr(options, "adapter", "lora"))
    rate = options.learning_rate
    if rate is None or usual / FAR <= rate <= usual * FAR:
        return None
    effect = "it may learn nothing" if rate < usual else "it may forget what the base knows"
    return f"learning_rate {rate:g} is far from the usual {usual:g} for {trainer}: {effect}."


def usual_rate(trainer: str, adapter: str) -> float:
    """The peak rate that a trainer's preset "balanced" has for LoRA, scaled to what another kind of adapter wants."""
    lora = ADAPTER_KINDS["lora"].learning_rate
    rate = PRESETS["balanced"].values.get(trainer, {}).get("learning_rate", lora)
    return rate * ADAPTER_KINDS[adapter].learning_rate / lora

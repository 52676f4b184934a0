"""What a reward model is, in words: for `adapter show`, the card and the app. Made from the registry's record alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub.records import Version

REWARD = "reward"
WHAT_IT_IS = "reward model: a LoRA adapter with a score head, which gives an answer a number and writes none"


def is_reward(metadata: Mapping[str, Any]) -> bool:
    """Whether a version's metadata are those of a reward model."""
    return metadata.get("adapter_kind") == REWARD or metadata.get("trainer") == REWARD


def judged(metadata: Mapping[str, Any]) -> str | None:
    """How well it agreed with held-out preferences, beside the better length rule; None where nothing was measured."""
    metrics = metadata.get("metrics")
    if not isinstance(metrics, Mapping) or not isinstance(metrics.get("eval_accuracy"), (int, float)):
        return None
    text = f"prefers the chosen answer in {_percent(metrics, 'eval_accuracy')}"
    if {"eval_accuracy_low", "eval_accuracy_high", "eval_pairs"} <= metrics.keys():
        low, high = _percent(metrics, "eval_accuracy_low"), _percent(metrics, "eval_accuracy_high")
        text += f" ({low} to {high} at 95 %) of {metrics['eval_pairs']:,.0f} held-out pairs"
    if {"eval_longer_wins", "eval_shorter_wins"} <= metrics.keys():
        rule = max(("longer_wins", "shorter_wins"), key=lambda name: metrics[f"eval_{name}"])
        text += f"; the rule '{rule.replace('_', ' ')}' in {_percent(metrics, f'eval_{rule}')}"
        text += "" if metrics.get("eval_beats_baseline") else ", which it does not beat"
    return text


def _percent(metrics: Mapping[str, Any], name: str) -> str:
    return f"{100 * metrics[name]:.1f} %"


def how_to_use(version: "Version") -> str:
    """The commands that apply it."""
    return f"medley score {version.label} --data DATASET, or --prompt TEXT --answer TEXT"


def cannot(label: str, what: str) -> str:
    """The sentence for somebody who wants to chat with a reward model, merge it or train from it.

    Args:
        label: what the user called it.
        what: "be asked", "be merged", …
    """
    return f"'{label}' is a reward model: it scores answers and cannot {what}. Use it with: medley score {label}"

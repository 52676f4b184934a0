"""Named starting points: a few values each, shown to the user with their source. Anything else keeps its default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medley.errors import ParameterError


@dataclass(frozen=True)
class Preset:
    """A few option values that go together, for each trainer.

    Attributes:
        summary: one sentence: when to take it.
        sources: trainer -> where the values come from.
        values: trainer -> option name -> value.
    """

    summary: str
    sources: Mapping[str, str]
    values: Mapping[str, Mapping[str, Any]]


PRESETS: dict[str, Preset] = {
    "quick": Preset(
        summary="See within minutes whether the data teaches what you want.",
        sources={
            "sft": "one pass at a high rate; LoRA tolerates about 15x the full fine-tuning rate in short runs "
            "(LoRA Without Regret)",
        },
        values={"sft": {"epochs": 1.0, "rank": 8, "learning_rate": 5e-4, "max_length": 512}},
    ),
    "balanced": Preset(
        summary="A good adapter from some hundred to some thousand rows.",
        sources={
            "sft": "all linear layers, about 10x the full fine-tuning rate (LoRA Without Regret); "
            "alpha = 2r (2405.09673)",
        },
        values={"sft": {"epochs": 3.0, "rank": 16, "learning_rate": 2e-4, "max_length": 1024}},
    ),
    "thorough": Preset(
        summary="More capacity and a gentler rate, when an hour more does not matter.",
        sources={
            "sft": "rank 64 with rank-stabilised scaling (2312.03732), the setting that led peft's method comparison",
        },
        values={"sft": {"epochs": 3.0, "rank": 64, "rslora": True, "learning_rate": 1e-4, "max_length": 2048}},
    ),
}


def preset(name: str, trainer: str) -> Mapping[str, Any]:
    """The option values of a preset for a trainer; none where the preset says nothing about it.

    Raises:
        ParameterError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise ParameterError(f"There is no preset '{name}'. Choose {', '.join(PRESETS)}.")
    return PRESETS[name].values.get(trainer, {})

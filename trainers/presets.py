"""Named starting points: a few values each, shown to the user with their source. Anything else keeps its default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medley.errors import ParameterError
from trainers.adapter_kinds import applicable


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
            "reward": "one pass, as reward models overfit in the second (2203.02155); TRL's rate of 1e-4 for LoRA, "
            "twice as high for a short run",
            "dpo": "the upper end of 10 to 50 times TRL's rate of 1e-6, which is meant for full fine-tuning",
            "kto": "the upper end of 10 to 50 times TRL's rate of 1e-6, which is meant for full fine-tuning",
            "grpo": "a small rank is enough for learning from rewards (LoRA Without Regret); "
            "50 times TRL's rate of 1e-6",
            "ppo": "a few small batches at 30 times TRL's last rate of 3e-6, to see whether the reward moves at all",
        },
        values={
            "sft": {"epochs": 1.0, "rank": 8, "learning_rate": 5e-4, "max_length": 512},
            "reward": {"epochs": 1.0, "rank": 8, "learning_rate": 2e-4, "max_length": 512},
            "dpo": {"epochs": 1.0, "rank": 8, "learning_rate": 5e-5, "max_length": 512},
            "kto": {"epochs": 1.0, "rank": 8, "learning_rate": 5e-5, "max_length": 512},
            "grpo": {"epochs": 1.0, "rank": 8, "learning_rate": 5e-5},
            "ppo": {"updates": 20, "batch_size": 8, "max_new_tokens": 24, "rank": 8, "learning_rate": 1e-4},
        },
    ),
    "balanced": Preset(
        summary="A good adapter from some hundred to some thousand rows.",
        sources={
            "sft": "all linear layers, about 10x the full fine-tuning rate (LoRA Without Regret); "
            "alpha = 2r (2405.09673)",
            "reward": "one pass (2203.02155) at TRL's rate of 1e-4",
            "dpo": "about 20 times TRL's rate of 1e-6, as LoRA wants 10 times or more (LoRA Without Regret)",
            "kto": "about 20 times TRL's rate of 1e-6, as LoRA wants 10 times or more (LoRA Without Regret)",
            "grpo": "ranks of 1 to 32 learn from rewards as well as full fine-tuning (LoRA Without Regret); "
            "20 times TRL's rate of 1e-6",
            "ppo": "TRL's last PPO defaults at 10 times their rate of 3e-6, as LoRA wants (LoRA Without Regret)",
        },
        values={
            "sft": {"epochs": 3.0, "rank": 16, "max_length": 1024},
            "reward": {"epochs": 1.0, "rank": 16, "learning_rate": 1e-4, "max_length": 1024},
            "dpo": {"epochs": 1.0, "rank": 16, "learning_rate": 2e-5, "max_length": 1024},
            "kto": {"epochs": 1.0, "rank": 16, "learning_rate": 2e-5, "max_length": 1024},
            "grpo": {"epochs": 1.0, "rank": 16, "learning_rate": 2e-5},
            "ppo": {"updates": 100, "batch_size": 16, "max_new_tokens": 53, "rank": 16, "learning_rate": 3e-5},
        },
    ),
    "thorough": Preset(
        summary="More capacity and a gentler rate, when an hour more does not matter.",
        sources={
            "sft": "rank 64 with rank-stabilised scaling (2312.03732), the setting that led peft's method comparison",
            "reward": "two passes at half of TRL's rate; the second may overfit (2203.02155): watch the accuracy",
            "dpo": "three passes at 10 times TRL's rate of 1e-6",
            "kto": "three passes at 10 times TRL's rate of 1e-6 (LoRA Without Regret)",
            "grpo": "the largest rank that gains in learning from rewards (LoRA Without Regret); "
            "10 times TRL's rate of 1e-6",
            "ppo": "larger batches and a rate of 3 times TRL's; the implementation follows the N+ details (2403.17031)",
        },
        values={
            "sft": {"epochs": 3.0, "rank": 64, "rslora": True, "learning_rate": 1e-4, "max_length": 2048},
            "reward": {"epochs": 2.0, "rank": 32, "learning_rate": 5e-5, "max_length": 2048},
            "dpo": {"epochs": 3.0, "rank": 32, "learning_rate": 1e-5, "max_length": 2048},
            "kto": {"epochs": 3.0, "rank": 32, "learning_rate": 1e-5, "max_length": 2048},
            "grpo": {"epochs": 3.0, "rank": 32, "learning_rate": 1e-5},
            "ppo": {"updates": 400, "batch_size": 64, "max_new_tokens": 53, "rank": 32, "learning_rate": 1e-5},
        },
    ),
}


def preset(name: str, trainer: str, adapter: str = "lora") -> Mapping[str, Any]:
    """The option values of a preset for a trainer; none where the preset says nothing about it.

    Args:
        adapter: the kind of adapter; what a preset says of LoRA alone (its rank, its rate) is left out for others.

    Raises:
        ParameterError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise ParameterError(f"There is no preset '{name}'. Choose {', '.join(PRESETS)}.")
    return applicable(PRESETS[name].values.get(trainer, {}), adapter)

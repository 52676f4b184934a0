"""What can be turned on reward models."""

from dataclasses import dataclass

from medley.options import option
from trainers.options import AdapterOptions, CommonOptions, EpochOptions


@dataclass(frozen=True)
class RewardOptions(AdapterOptions, CommonOptions, EpochOptions):
    """A Bradley-Terry reward model: a LoRA adapter with a score head that learns which of two answers is preferred.

    Defaults: TRL's learning rate for LoRA, and one pass, as reward models overfit in the second (2203.02155).
    """

    epochs: float = option(1.0, "Passes over the training pairs; a second one often overfits.", above=0, high=1000)
    batch_size: int = option(8, "Pairs in one forward pass, each of two answers.", low=1, high=4096)
    max_length: int = option(
        1024, "Longest prompt with answer in tokens; a pair with a longer side is left out.", low=8, high=1_048_576
    )
    learning_rate: float = option(1e-4, "Peak learning rate of adapter and score head.", above=0, high=1)
    center_rewards_coefficient: float | None = option(
        None, "Pulls scores towards a mean of 0 (2312.09244, Eq. 2); 0.01 is usual.", above=0, high=10, advanced=True
    )
    max_eval_rows: int = option(
        64, "Eval pairs measured while it trains; the report takes all. 0 measures nothing.", low=0, advanced=True
    )

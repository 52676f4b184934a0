"""What can be turned on Kahneman-Tversky optimisation."""

from dataclasses import dataclass

from medley.options import option
from trainers.options import AdapterOptions, CommonOptions, EpochOptions, SampleOptions
from trainers.reference_options import ReferenceOptions


@dataclass(frozen=True)
class KTOOptions(ReferenceOptions, SampleOptions, AdapterOptions, CommonOptions, EpochOptions):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, 2402.01306) of a LoRA adapter, on TRL.

    It learns from answers that are good or bad each by itself. The rate is 20 times TRL's 1e-6, which is meant for full
    fine-tuning; beta is the paper's and TRL's 0.1.
    """

    epochs: float = option(1.0, "Passes over the training rows; preferences overfit soon.", above=0, high=1000)
    batch_size: int = option(
        8, "Rows in one forward pass; the KL is estimated within it, so at least 2.", low=2, high=4096
    )
    learning_rate: float = option(
        2e-5, "Peak learning rate; 1e-5 to 5e-5 suits LoRA, too low leaves the loss at 0.5.", above=0, high=1
    )
    dropout: float = option(
        0.0,
        "Share of LoRA inputs dropped in the policy; the reference never drops any.",
        low=0,
        high=0.9,
        advanced=True,
    )
    loss: str = option(
        "kto",
        "Loss: kto compares with a KL estimate, apo_zero_unpaired with nothing.",
        choices=("kto", "apo_zero_unpaired"),
    )
    desirable_weight: float = option(
        1.0, "Weight of good answers, to balance unequal numbers.", above=0, high=100, advanced=True
    )
    undesirable_weight: float = option(
        1.0, "Weight of bad answers, to balance unequal numbers.", above=0, high=100, advanced=True
    )

"""What can be turned on direct preference optimisation, and which settings do not go together."""

from dataclasses import dataclass

from medley.options import option
from trainers.options import AdapterOptions, CommonOptions, EpochOptions, SampleOptions
from trainers.reference_options import ReferenceOptions

LOSSES = (
    *("sigmoid", "ipo", "hinge", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sigmoid_norm"),
)
SMOOTHING = {"robust": 0.1, "exo_pair": 1e-3, "aot": 0.0, "aot_unpaired": 0.0}  # the papers' values, where one is used


@dataclass(frozen=True)
class DPOOptions(ReferenceOptions, SampleOptions, AdapterOptions, CommonOptions, EpochOptions):
    """Direct preference optimisation (Rafailov et al. 2023, 2305.18290) of a LoRA adapter, on TRL.

    The rate is 20 times TRL's 1e-6, which is meant for full fine-tuning; beta is the paper's and TRL's 0.1.
    """

    epochs: float = option(1.0, "Passes over the training rows; preferences overfit soon.", above=0, high=1000)
    learning_rate: float = option(
        2e-5, "Peak learning rate; 1e-5 to 5e-5 suits LoRA, too low leaves the loss at 0.69.", above=0, high=1
    )
    max_length: int = option(
        1024, "Tokens kept of a prompt with an answer; a pair with nothing left of one is left out.", low=8, high=2**20
    )
    dropout: float = option(
        0.0,
        "Share of LoRA inputs dropped in the policy; the reference never drops any.",
        low=0,
        high=0.9,
        advanced=True,
    )
    loss: str = option(
        "sigmoid", "Loss: sigmoid is DPO, ipo does not saturate, robust expects wrong labels.", choices=LOSSES
    )
    label_smoothing: float | None = option(
        None,
        "Share of labels taken for wrong; 0.1 for robust, 0.001 for exo_pair when empty.",
        low=0,
        high=0.49,
        advanced=True,
    )
    sft_weight: float = option(
        0.0,
        "Weight of an added likelihood loss on chosen answers, so that they stay likely (RPO, 2404.19733).",
        low=0,
        high=100,
        advanced=True,
    )

    @property
    def smoothing(self) -> float:
        """The label smoothing that the chosen loss works with."""
        return SMOOTHING.get(self.loss, 0.0) if self.label_smoothing is None else self.label_smoothing

    def problems(self) -> list[str]:
        """What only several options together get wrong."""
        problems = super().problems()
        if self.label_smoothing is not None and self.loss not in SMOOTHING:
            problems.append(
                f"label_smoothing has no effect on the loss {self.loss}. Leave it empty, or choose one of "
                f"{', '.join(SMOOTHING)}."
            )
        if self.loss == "exo_pair" and self.label_smoothing == 0:
            problems.append("The loss exo_pair needs a label_smoothing above 0. Its paper takes 0.001.")
        return problems

"""What can be turned on group relative policy optimisation, and which settings do not go together."""

from dataclasses import dataclass

from medley.options import option
from trainers.options import AdapterOptions, CommonOptions, EpochOptions
from trainers.reference_options import ReferenceOptions


@dataclass(frozen=True)
class GRPOOptions(ReferenceOptions, AdapterOptions, CommonOptions, EpochOptions):
    """Group relative policy optimisation (Shao et al. 2024, 2402.03300) of a LoRA adapter against a reward, on TRL.

    The rate is 20 times TRL's 1e-6, which is meant for full fine-tuning; beta is the paper's, where TRL's own default
    of 0 keeps no distance at all.
    """

    epochs: float = option(1.0, "Passes over the prompts.", above=0, high=1000)
    batch_size: int = option(
        16, "Answers in one forward pass; with gradient_accumulation a multiple of num_generations.", low=1, high=4096
    )
    max_length: int = option(
        512, "Prompts with more tokens are left out, and counted.", low=8, high=1_048_576, advanced=True
    )
    group_by_length: bool = option(True, "Batch prompts of similar length: less padding, faster.", advanced=True)
    max_eval_rows: int = option(
        16, "Eval prompts answered and scored each time; 0 switches that off.", low=0, advanced=True
    )
    learning_rate: float = option(2e-5, "Peak learning rate; 1e-5 to 5e-5 suits LoRA.", above=0, high=1)
    dropout: float = option(
        0.0, "Always 0: what drops at random scores a token otherwise than it was drawn.", low=0, high=0, advanced=True
    )
    beta: float = option(
        0.04, "Price of the KL to the reference; 0, TRL's own default, lets the policy run away.", low=0, high=100
    )
    reward: tuple[str, ...] = option(
        ("sentiment",), "What is rewarded: words such as sentiment, brevity=0.5 or a reward adapter; they add up."
    )
    num_generations: int = option(8, "Answers to one prompt, which are compared with each other.", low=2, high=1024)
    max_new_tokens: int = option(64, "Longest answer in tokens.", low=1, high=8192)
    temperature: float = option(1.0, "Temperature answers are drawn with.", above=0, high=5)
    loss: str = option(
        "dapo",
        "How token losses are averaged: dapo over all tokens, grpo over answers (it favours short ones).",
        choices=("dapo", "grpo", "dr_grpo", "bnpo"),
        advanced=True,
    )
    samples: int = option(2, "Answers of a batch to look at.", low=0, high=16, advanced=True)
    sample_every: int = option(5, "Optimizer steps between two looks.", low=1, advanced=True)

    @property
    def answers_of_step(self) -> int:
        """Answers in one optimizer step, groups of `num_generations` to one prompt."""
        return self.batch_size * self.gradient_accumulation

    def problems(self) -> list[str]:
        """What only several options together get wrong."""
        problems = super().problems()
        if self.answers_of_step % self.num_generations:
            problems.append(
                f"A step of {self.answers_of_step} answers (batch_size times gradient_accumulation) does not hold "
                f"whole groups of {self.num_generations}. Make it a multiple of num_generations."
            )
        return problems

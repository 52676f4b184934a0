"""What can be turned on PPO."""

from dataclasses import dataclass

from medley.options import option
from trainers.options import AdapterOptions, CommonOptions


@dataclass(frozen=True)
class PPOOptions(AdapterOptions, CommonOptions):
    """Proximal policy optimisation (Schulman et al. 2017, 1707.06347) of a LoRA adapter against a reward.

    Defaults are those of TRL's last PPO trainer, but for the learning rate: ten times its 3e-6, as LoRA wants
    ("LoRA Without Regret"). Entropy is measured over the whole vocabulary, not from the drawn tokens.
    """

    reward: tuple[str, ...] = option(
        ("sentiment",), "What is rewarded: words such as sentiment, brevity=0.5 or a reward adapter; they add up."
    )
    gold_reward: tuple[str, ...] = option((), "A second reward that is only watched: it shows when the first is gamed.")
    updates: int = option(100, "Batches of answers written, scored and learned from.", low=1, high=1_000_000)
    batch_size: int = option(16, "Answers in a batch.", low=1, high=4096)
    max_new_tokens: int = option(53, "Longest answer in tokens.", low=1, high=8192)
    learning_rate: float = option(3e-5, "Learning rate at the start.", above=0, high=1)
    kl_coef: float = option(0.05, "Price of a nat of distance from the reference; 0 lets the policy run away.", low=0)
    temperature: float = option(0.7, "Temperature answers are drawn with.", above=0, high=5)
    max_prompt_length: int = option(
        512, "Prompts with more tokens are left out, and counted.", low=1, high=1_048_576, advanced=True
    )
    ppo_epochs: int = option(4, "Passes over each batch.", low=1, high=100, advanced=True)
    mini_batches: int = option(1, "Optimizer steps in one pass.", low=1, high=4096, advanced=True)
    rows_at_once: int | None = option(
        None, "Answers in one forward pass; fewer need less memory; all of a mini-batch when empty.", low=1,
        advanced=True,
    )  # fmt: skip
    lr_schedule: str = option("linear", "How the learning rate falls.", choices=("linear", "constant"), advanced=True)
    kl_estimator: str = option(
        "k1", "k1 is -log r, k3 is r - 1 - log r: never negative, steadier.", choices=("k1", "k3"), advanced=True
    )
    kl_adaptive: bool = option(False, "Let kl_coef follow kl_target (1909.08593).", advanced=True)
    kl_target: float = option(6.0, "Nats an answer that kl_adaptive aims at.", above=0, advanced=True)
    kl_stop: float | None = option(
        None, "End the run when a batch is further from the reference, in nats an answer.", above=0, advanced=True
    )
    approxkl_stop: float | None = option(
        None, "End the passes over a batch when the policy has moved this far from its writer.", above=0, advanced=True
    )
    gamma: float = option(1.0, "Discount of later rewards.", low=0, high=1, advanced=True)
    lam: float = option(0.95, "GAE's lambda: 1 is unbiased, less is steadier.", low=0, high=1, advanced=True)
    cliprange: float = option(0.2, "How far a token's probability ratio may count.", above=0, advanced=True)
    cliprange_value: float = option(0.2, "How far a value may move in one batch.", above=0, advanced=True)
    vf_coef: float = option(0.1, "Weight of the value loss.", low=0, advanced=True)
    entropy_coef: float = option(0.0, "Weight of the entropy bonus.", low=0, advanced=True)
    whiten_rewards: bool = option(False, "Bring rewards to variance 1 in each batch.", advanced=True)
    whiten_advantages: bool = option(True, "Bring advantages to mean 0 and variance 1 in each batch.", advanced=True)
    missing_eos_penalty: float | None = option(
        None, "Taken off the score of an answer that does not end by itself.", low=0, advanced=True
    )
    normalise_reward: bool = option(False, "Bring scores to mean 0 and deviation 1 as they are seen.", advanced=True)
    clip_reward: float | None = option(None, "Scores count within plus and minus this.", above=0, advanced=True)
    value: str = option(
        "head", "The value function: a head on the policy, or an adapter of its own (slower, more memory).",
        choices=("head", "adapter"), advanced=True,
    )  # fmt: skip
    samples: int = option(2, "Answers of a batch to look at.", low=0, high=16, advanced=True)
    sample_every: int = option(5, "Updates between two looks.", low=1, advanced=True)
    dropout: float = option(
        0.0, "Always 0: what drops at random scores a token otherwise than it was drawn.", low=0, high=0, advanced=True
    )
    init: str = option(
        "default",
        "How LoRA starts: without any change, as the base is shared with the reference and the rewards.",
        choices=("default", "gaussian", "orthogonal"),
        advanced=True,
    )

    def problems(self) -> list[str]:
        """What only several options together get wrong."""
        problems = super().problems()
        if self.batch_size % self.mini_batches:
            problems.append(
                f"A batch of {self.batch_size} answers cannot be parted into {self.mini_batches} equal mini-batches. "
                "Choose mini_batches that divide batch_size."
            )
        if self.kl_adaptive and self.kl_coef == 0:
            problems.append("kl_adaptive multiplies kl_coef, so that 0 stays 0. Give it a start above 0, such as 0.05.")
        return problems

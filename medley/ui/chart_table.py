"""Which measured numbers are drawn together, under which title and in which words, for every trainer.

A trainer names its metrics as its field does (`rewards/margins`, `objective/kl`). A chart is drawn where a run has any
of its metrics; the order here is the order on the page.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chart:
    """A row of the table.

    Attributes:
        title: what it shows, in words.
        reading: how to read it, in one sentence.
        curves: metric -> its name in the legend, the most important first; alternatives of different trainers too.
        is_main: shown at once; others are folded away.
    """

    title: str
    reading: str
    curves: dict[str, str]
    is_main: bool = True


CHARTS = (
    Chart(
        "Reward",
        "What is optimised, and a gold reward that is only looked at: when they part, the reward is being gamed.",
        {
            "objective/scores": "reward",
            "reward": "reward",
            "objective/gold": "gold reward",
            "objective/gold_scores": "gold reward",
            "rewards/gold/mean": "gold reward",
            "objective/rlhf_reward": "reward after the KL penalty",
        },
    ),
    Chart(
        "Loss",
        "Falling on both is learning; rising on eval alone is learning by heart.",
        {"loss": "training loss", "eval_loss": "eval loss"},
    ),
    Chart(
        "Implicit rewards",
        "Log-probability against the reference, times beta. Both falling means the answers themselves get unlikely.",
        {
            "rewards/chosen": "chosen",
            "rewards/rejected": "rejected",
            "eval_rewards/chosen": "chosen, eval",
            "eval_rewards/rejected": "rejected, eval",
        },
    ),
    Chart(
        "Margin",
        "How far the chosen answer is ahead of the rejected one.",
        {"rewards/margins": "training", "eval_rewards/margins": "eval", "margin": "training", "eval_margin": "eval"},
    ),
    Chart(
        "Accuracy",
        "Share of pairs in which the chosen answer is ahead; 0.5 is chance.",
        {
            "rewards/accuracies": "training",
            "eval_rewards/accuracies": "eval",
            "accuracy": "training",
            "eval_accuracy": "eval",
        },
    ),
    Chart(
        "Distance from the reference",
        "KL divergence of the policy from the reference, in nats an answer.",
        {"objective/kl": "KL", "kl": "KL", "eval_kl": "KL, eval"},
    ),
    Chart(
        "Length of answers",
        "In tokens. A reward that grows with length alone is a shortcut.",
        {
            "response_length": "tokens",
            "val/response_length": "tokens",
            "objective/response_length": "tokens",
            "completions/mean_length": "tokens",
        },
    ),
    Chart(
        "Ended answers",
        "Share of answers that end by themselves, before the limit.",
        {
            "eos_rate": "ended",
            "val/eos_rate": "ended",
            "objective/eos_rate": "ended",
            "completions/clipped_ratio": "cut at the limit",
        },
    ),
    Chart(
        "Entropy",
        "How undecided the policy is at each token; a collapse means that it says always the same.",
        {"objective/entropy": "policy"},
    ),
    Chart(
        "Value function",
        "Its loss; it should fall while the explained variance rises.",
        {"loss/value": "value loss", "value_loss": "value loss"},
    ),
    Chart(
        "Explained variance",
        "Share of the returns' variance that the value function foresees; 1 is all.",
        {"val/explained_variance": "explained", "explained_variance": "explained"},
    ),
    Chart(
        "Different words",
        "Different n-grams over all n-grams; a fall means repetition.",
        {
            "distinct_1": "single words",
            "distinct_2": "pairs",
            "val/distinct_1": "single words",
            "val/distinct_2": "pairs",
            "distinct/1": "single words",
            "distinct/2": "pairs",
        },
    ),
    Chart(
        "Log-probabilities",
        "Of whole answers, in nats.",
        {
            "logps/chosen": "chosen",
            "logps/rejected": "rejected",
            "eval_logps/chosen": "chosen, eval",
            "eval_logps/rejected": "rejected, eval",
        },
        is_main=False,
    ),
    Chart(
        "Entropy on the rows",
        "How undecided the model is at each token of the answers.",
        {"entropy": "training", "eval_entropy": "eval"},
        is_main=False,
    ),
    Chart("Learning rate", "As the schedule has it.", {"learning_rate": "rate"}, is_main=False),
    Chart(
        "Gradient norm",
        "Before clipping; spikes go with steps that undo what was learned.",
        {"grad_norm": "norm"},
        is_main=False,
    ),
    Chart(
        "Token accuracy",
        "Share of tokens that the model would have chosen itself.",
        {"mean_token_accuracy": "training", "eval_mean_token_accuracy": "eval"},
        is_main=False,
    ),
)

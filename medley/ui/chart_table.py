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
        "What is optimised, and the gold reward that is only watched: where they part, the reward is being gamed.",
        {
            "objective/scores": "reward",
            "reward": "reward",
            "objective/gold": "gold reward",
            "rewards/gold/mean": "gold reward",
            "objective/rlhf_reward": "reward less the price of KL",
        },
    ),
    Chart(
        "Loss",
        "Falling on both is learning; rising on eval alone is learning by heart.",
        {"loss": "training loss", "eval_loss": "eval loss"},
    ),
    Chart(
        "Implicit rewards",
        "Beta times the change of log-probability. Both falling: the answers themselves get unlikely.",
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
        {"rewards/margins": "training", "margin": "training", "eval_rewards/margins": "eval", "eval_margin": "eval"},
    ),
    Chart(
        "Accuracy",
        "Share of pairs in which the chosen answer is ahead; 0.5 is chance.",
        {
            "rewards/accuracies": "training",
            "accuracy": "training",
            "eval_rewards/accuracies": "eval",
            "eval_accuracy": "eval",
        },
    ),
    Chart(
        "KL to the reference",
        "How far the policy has moved, in nats.",
        {"objective/kl": "an answer", "kl": "training", "eval_kl": "eval"},
    ),
    Chart(
        "Length of answers",
        "Tokens. A reward that grows with length alone is a shortcut.",
        {"response_length": "tokens", "completions/mean_length": "tokens"},
    ),
    Chart(
        "Ended answers",
        "Share that end by themselves, before the limit.",
        {"eos_rate": "ended", "completions/clipped_ratio": "cut off"},
    ),
    Chart(
        "Entropy",
        "How undecided the policy is at a token, in nats; a collapse says always the same.",
        {"objective/entropy": "policy"},
    ),
    Chart("Value loss", "It should fall as the value function learns.", {"loss/value": "value loss"}),
    Chart(
        "Different words",
        "Different words and pairs over all of them; a fall is repetition.",
        {"distinct_1": "words", "distinct_2": "pairs"},
    ),
    Chart(
        "Explained variance",
        "Share of the returns that the value function foresees; 1 is all.",
        {"val/explained_variance": "explained"},
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
        "Scores",
        "Mean score of all answers of a batch, and the extremes.",
        {"mean_reward": "mean", "min_reward": "lowest", "max_reward": "highest"},
        is_main=False,
    ),
    Chart(
        "Scores on the eval split",
        "Mean score of all answers, and the extremes.",
        {"eval_mean_reward": "mean", "eval_min_reward": "lowest", "eval_max_reward": "highest"},
        is_main=False,
    ),
    Chart("Speed", "Tokens in a second.", {"tokens_per_second": "tokens"}, is_main=False),
    Chart("Memory", "The most so far, in GB.", {"memory_gb": "GB"}, is_main=False),
    Chart(
        "Policy ratio",
        "Probability of the drawn tokens now over then; 1 at the first step of a batch.",
        {"val/ratio": "mean", "val/ratio_first": "first step"},
        is_main=False,
    ),
    Chart(
        "Clipped",
        "Share of tokens whose step was cut short.",
        {"policy/clipfrac": "policy", "val/clipfrac": "value"},
        is_main=False,
    ),
    Chart(
        "Entropy on the rows",
        "How undecided the model is at a token of the answers, in nats.",
        {"entropy": "training", "eval_entropy": "eval"},
        is_main=False,
    ),
    Chart("Learning rate", "As the schedule has it.", {"learning_rate": "rate", "lr": "rate"}, is_main=False),
    Chart(
        "Gradient norm",
        "Before clipping; spikes are steps that undo what was learned.",
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

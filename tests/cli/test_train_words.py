"""What the terminal says of a training: the time that a plan names, the numbers beside a bar."""

import pytest

from medley.cli.follow import numbers_of
from medley.cli.train_plan import time_range
from trainers.estimate import Estimate


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ((3, 12), "3 to 12 s"),
        ((180, 725), "3 to 12 min"),
        ((27 * 3600, 110 * 3600), "1.1 to 4.6 d"),
        ((11 * 3600, 44 * 3600), "11 to 44 h"),
        ((25 * 86400, 100 * 86400), "25 to 100 d"),
        (None, None),
    ],
)
def test_a_range_of_time_has_a_unit_that_fits(seconds: tuple[float, float] | None, text: str | None) -> None:
    assert time_range(Estimate({}, 1, 1, seconds, "")) == text


def test_each_trainer_shows_what_tells_how_it_goes() -> None:
    ppo = {"step": 3, "objective/scores": 0.5, "objective/gold": 0.25, "objective/kl": 1.5, "lr": 1e-5, "eos_rate": 1.0}
    assert numbers_of(ppo) == {"score": 0.5, "gold": 0.25, "KL": 1.5}
    grpo = {"loss": 0.1, "reward": 0.5, "kl": 0.0, "rewards/brevity/mean": 0.5}
    assert numbers_of(grpo) == {"loss": 0.1, "reward": 0.5, "KL": 0.0}
    dpo = {"loss": 0.69, "rewards/accuracies": 0.75, "rewards/margins": 0.1}
    assert numbers_of(dpo) == {"loss": 0.69, "accuracy": 0.75}
    assert numbers_of({"eval_loss": 0.6, "eval_rewards/accuracies": 1.0}) == {"eval_loss": 0.6, "eval_accuracy": 1.0}
    assert numbers_of({"loss": 0.6, "accuracy": 0.5, "eval_accuracy": None}) == {"loss": 0.6, "accuracy": 0.5}

"""What PPO's numbers say of a run, and when it warns."""

import pytest

from trainers.ppo_report import distinct, final_metrics, find_warnings


def history(scores: list[float], gold: list[float], eos: list[float] | None = None) -> list[dict[str, float]]:
    eos = eos or [1.0] * len(scores)
    names = ("objective/scores", "objective/gold", "eos_rate", "objective/kl")
    return [
        {**dict(zip(names, values, strict=True)), "gold_error": 0.01}
        for values in zip(scores, gold, eos, [0.5] * len(scores), strict=True)
    ]


def test_a_rising_reward_with_a_falling_gold_is_a_warning() -> None:
    rising, falling = [step / 10 for step in range(12)], [1 - step / 20 for step in range(12)]
    assert find_warnings(history(rising, falling)) == {
        "hacking": "The reward is being gamed: it rose from 0.20 to 0.90 while the gold reward fell from 0.90 to 0.55. "
        "Raise kl_coef, or stop earlier."
    }
    assert find_warnings(history(rising, rising)) == {}
    assert find_warnings(history(falling, falling)) == {}  # both fall: not gamed, only bad
    assert find_warnings(history(rising[:9], falling[:9])) == {}  # too short to tell


def test_a_gold_that_falls_within_its_noise_is_no_warning() -> None:
    rising, flat = [step / 10 for step in range(12)], [0.5 - step / 10_000 for step in range(12)]
    assert find_warnings(history(rising, flat)) == {}


def test_answers_that_stop_ending_are_a_warning() -> None:
    flat = [0.0] * 12
    eos = [0.8] * 6 + [0.3] * 6
    assert find_warnings(history(flat, flat, eos)) == {
        "eos": "Answers stop ending by themselves: 80% did at first, 30% do now. "
        "Set missing_eos_penalty, or raise max_new_tokens."
    }
    assert find_warnings(history(flat, flat, [0.1] * 6 + [0.0] * 6)) == {}  # hardly any ever did


@pytest.mark.parametrize(
    ("answers", "one", "two"),
    [(["so good so good"], 2 / 4, 2 / 3), (["a b", "a b"], 2 / 4, 1 / 2), (["", "word"], 1.0, 1.0), ([""], 1.0, 1.0)],
)
def test_distinct_counts_over_the_whole_batch(answers: list[str], one: float, two: float) -> None:
    assert (distinct(answers, 1), distinct(answers, 2)) == (one, two)


def test_a_finished_run_is_known_by_its_first_and_last_updates() -> None:
    metrics = final_metrics(history([0, 0, 0, 0, 0, 9, 1, 1, 1, 1, 1], [0.5] * 11))
    assert (metrics["scores_before"], metrics["scores"], metrics["gold"], metrics["kl"]) == (0, 1, 0.5, 0.5)
    assert final_metrics([]) == {}

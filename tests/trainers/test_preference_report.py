"""Numbers that judge a reward model, each against values worked by hand or printed in the papers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.preference_report import (
    ScoredPair,
    calibration_error,
    paired_difference,
    report_pairs,
    separation,
    wilson,
)

SHARES = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=60)


def pair(margin: float, chosen_length: int, rejected_length: int) -> ScoredPair:
    return ScoredPair(margin, 0.0, chosen_length, rejected_length)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_newcombe_prints_it(successes: int, trials: int, low: float, high: float) -> None:
    """Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3."""
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_the_paired_difference_as_newcombe_prints_it() -> None:
    """Both right 36 times, only the first 12, only the second 2: 0.2, from 0.0569 to 0.3404 (method 10)."""
    first = [1.0] * 36 + [1.0] * 12 + [0.0] * 2
    second = [1.0] * 36 + [0.0] * 12 + [1.0] * 2
    assert paired_difference(first, second) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(SHARES)
def test_swapping_the_sides_mirrors_the_interval(items: list[tuple[bool, float]]) -> None:
    first, second = [float(a) for a, _ in items], [b for _, b in items]
    low, high = paired_difference(first, second)
    assert paired_difference(second, first) == pytest.approx((-high, -low), abs=1e-12)
    gain = (sum(first) - sum(second)) / len(items)
    assert low - 1e-9 <= gain <= high + 1e-9
    assert high - low > 0.0  # never empty, however few the items: the bootstrap's mistake


def test_calibration_worked_by_hand() -> None:
    """Margins ln 3 and -ln 3 are 75 % sure each, one right and one wrong: |1/2 - 3/4| in their bin.

    ln 19 is 95 % sure and right: 1 - 0.95 in another bin. ECE = (2 * 0.25 + 1 * 0.05) / 3.
    """
    assert calibration_error([math.log(3), -math.log(3), math.log(19)]) == pytest.approx(0.55 / 3)
    assert calibration_error([1e4]) == pytest.approx(0.0)
    assert calibration_error([-1e4]) == pytest.approx(1.0)


def test_a_report_worked_by_hand() -> None:
    pairs = [
        pair(+1.0, 100, 40),  # right; chosen longer by 60 % of the longer
        pair(+2.0, 100, 90),  # right; similar
        pair(-1.0, 50, 70),  # wrong; chosen shorter by 2/7
        pair(+3.0, 10, 100),  # right; much shorter
        pair(0.0, 30, 20),  # equal scores are wrong; longer by 1/3
        pair(+1.0, 8, 8),  # right; equally long
    ]
    report = report_pairs(pairs)
    assert report.accuracy == pytest.approx(4 / 6)
    assert report.accuracy_interval == pytest.approx(wilson(4, 6))
    assert report.margin == pytest.approx(1.0)
    assert (report.longer_wins, report.shorter_wins) == pytest.approx((3.5 / 6, 2.5 / 6))  # 3 longer, 1 equal
    assert (report.baseline, report.baseline_accuracy) == ("longer wins", pytest.approx(3.5 / 6))
    assert report.gain == pytest.approx(0.5 / 6)
    assert (report.against_pairs, report.against_accuracy) == (2, 0.5)  # rows 3 and 4
    assert report.buckets == {
        "much_shorter": (1, 1.0),
        "shorter": (1, 0.0),
        "similar": (2, 1.0),
        "longer": (1, 0.0),
        "much_longer": (1, 1.0),
    }
    assert not report.beats_baseline
    low, high = (100 * each for each in report.gain_interval)
    assert report.verdict() == (
        "It does not beat the best length rule: 66.7% of 6 held-out pairs right, 'longer wins' 58.3%, a difference of "
        f"+8.3 points ({low:+.1f} to {high:+.1f} at 95 %). Do not trust its scores yet; more pairs may help."
    )
    metrics = report.metrics("eval_")
    assert metrics["eval_accuracy"] == pytest.approx(4 / 6, abs=1e-6)
    assert metrics["eval_accuracy_much_shorter"] == 1.0
    assert metrics["eval_pairs_similar"] == 2.0
    assert metrics["eval_beats_baseline"] == 0.0


def test_the_better_rule_is_the_baseline() -> None:
    """hh-rlhf prefers the shorter answer: a model that learnt just that beats nothing."""
    pairs = [pair(length, 10 - length, 10) for length in range(1, 10)] * 4
    report = report_pairs(pairs)
    assert (report.baseline, report.accuracy, report.gain) == ("shorter wins", 1.0, 0.0)
    assert not report.beats_baseline


def test_a_model_that_knows_more_than_length_beats_the_baseline() -> None:
    pairs = [pair(1.0, 10, 5), pair(1.0, 5, 10)] * 20
    report = report_pairs(pairs)
    assert (report.accuracy, report.baseline_accuracy) == (1.0, 0.5)
    assert report.beats_baseline
    assert report.verdict().startswith("It beats the best length rule: 100.0% of 40 held-out pairs right")


def test_separation_worked_by_hand() -> None:
    """Good 3 and 1 against bad 2 and 1: 3 > 2, 3 > 1, 1 < 2, 1 = 1: (1 + 1 + 0 + 1/2) / 4."""
    assert separation([3, 1, 2, 1], [True, True, False, False]) == pytest.approx(2.5 / 4)
    assert separation([3, 1], [True, True]) is None

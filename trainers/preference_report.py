"""How well scores agree with preferences, and whether they know more than which answer is longer. Pure; no torch.

Reward models and the implicit rewards of DPO are judged by the same numbers, each beside what a ruler would reach: the
rules "longer wins" and "shorter wins". Length explains much of what reward models learn (2310.03716), so a model that
does not beat the better rule has not been shown to judge anything else.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Z95 = 1.959963984540054  # the normal quantile of a two-sided 95 % interval
ECE_BINS = 10  # of equal width, over confidences from 0.5 to 1
BUCKETS = (  # name, and the largest (chosen - rejected) / longer that belongs to it
    ("much_shorter", -0.5),
    ("shorter", -0.2),
    ("similar", 0.2),
    ("longer", 0.5),
    ("much_longer", 1.0),
)
Interval = tuple[float, float]


@dataclass(frozen=True)
class ScoredPair:
    """One preference with its scores.

    Attributes:
        chosen_score, rejected_score: any finite numbers on one scale.
        chosen_length, rejected_length: of the answers, in characters.
    """

    chosen_score: float
    rejected_score: float
    chosen_length: int
    rejected_length: int

    @property
    def margin(self) -> float:
        return self.chosen_score - self.rejected_score

    @property
    def longer_wins(self) -> float:
        """What "the longer one" earns here: 1 if right, 0 if wrong, 1/2 where both are equally long."""
        return 0.5 * (1 + (self.chosen_length > self.rejected_length) - (self.chosen_length < self.rejected_length))


@dataclass(frozen=True)
class PreferenceReport:
    """What was measured on held-out pairs; shares are in [0, 1], intervals are of 95 %.

    The intervals take the pairs as independent of each other: where one prompt has many pairs they are too narrow.

    Attributes:
        pairs: how many.
        accuracy: share whose chosen answer scores higher; equal scores count as wrong. Its interval is Wilson's.
        margin: mean of chosen minus rejected score.
        ece: expected calibration error of sigma(margin) as the probability that the first answer is preferred: over
            ten bins of equal width of the confidence max(p, 1 - p), the mean distance between confidence and accuracy.
        longer_wins, shorter_wins: accuracy of the two rules; equal lengths count half.
        baseline: the better rule on these very pairs, which favours it: "longer wins" or "shorter wins".
        gain: accuracy minus the baseline's, pair by pair; its interval is Newcombe's for paired shares.
        against_pairs, against_accuracy: the pairs in which the baseline is wrong, and the accuracy there.
        buckets: how long the chosen answer is beside the rejected one -> (pairs, accuracy); empty ones are left out.
    """

    pairs: int
    accuracy: float
    accuracy_interval: Interval
    margin: float
    ece: float
    longer_wins: float
    shorter_wins: float
    gain: float
    gain_interval: Interval
    against_pairs: int
    against_accuracy: float | None
    buckets: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def baseline(self) -> str:
        return "longer wins" if self.longer_wins >= self.shorter_wins else "shorter wins"

    @property
    def baseline_accuracy(self) -> float:
        return max(self.longer_wins, self.shorter_wins)

    @property
    def beats_baseline(self) -> bool:
        """True when the whole interval of the gain lies above 0."""
        return self.gain_interval[0] > 0

    def verdict(self, kind: str = "held-out") -> str:
        """Accuracy, baseline and difference in one plain sentence or two; `kind` is what sort of pairs they are."""
        low, high = (100 * each for each in self.gain_interval)
        numbers = (
            f"{self.accuracy:.1%} of {self.pairs:,} {kind} pairs right, "
            f"'{self.baseline}' {self.baseline_accuracy:.1%}, "
            f"a difference of {100 * self.gain:+.1f} points ({low:+.1f} to {high:+.1f} at 95 %)"
        )
        if self.beats_baseline:
            return f"It beats the best length rule: {numbers}."
        return f"It does not beat the best length rule: {numbers}. Do not trust its scores yet; more pairs may help."

    def metrics(self, prefix: str = "") -> dict[str, float]:
        """The report as flat numbers under their field's names."""
        values: dict[str, float] = {
            "pairs": float(self.pairs),
            "accuracy": self.accuracy,
            "accuracy_low": self.accuracy_interval[0],
            "accuracy_high": self.accuracy_interval[1],
            "margin": self.margin,
            "ece": self.ece,
            "longer_wins": self.longer_wins,
            "shorter_wins": self.shorter_wins,
            "gain": self.gain,
            "gain_low": self.gain_interval[0],
            "gain_high": self.gain_interval[1],
            "beats_baseline": float(self.beats_baseline),
            "against_baseline_pairs": float(self.against_pairs),
        }
        if self.against_accuracy is not None:
            values["against_baseline_accuracy"] = self.against_accuracy
        for name, (pairs, accuracy) in self.buckets.items():
            values |= {f"pairs_{name}": float(pairs), f"accuracy_{name}": accuracy}
        return {f"{prefix}{name}": round(value, 6) for name, value in values.items()}


def report_pairs(pairs: Sequence[ScoredPair]) -> PreferenceReport:
    """The report on these pairs; there must be at least one."""
    right = [float(pair.margin > 0) for pair in pairs]
    longer = [pair.longer_wins for pair in pairs]
    rule = longer if _mean(longer) >= 0.5 else [1 - each for each in longer]
    against = [is_right for is_right, by_rule in zip(right, rule, strict=True) if by_rule == 0]
    return PreferenceReport(
        pairs=len(pairs),
        accuracy=_mean(right),
        accuracy_interval=wilson(sum(right), len(right)),
        margin=_mean([pair.margin for pair in pairs]),
        ece=calibration_error([pair.margin for pair in pairs]),
        longer_wins=_mean(longer),
        shorter_wins=1 - _mean(longer),
        gain=_mean(right) - _mean(rule),
        gain_interval=paired_difference(right, rule),
        against_pairs=len(against),
        against_accuracy=_mean(against) if against else None,
        buckets=_buckets(pairs, right),
    )


def wilson(successes: float, trials: float) -> Interval:
    """Wilson's score interval of a share (Wilson 1927), 95 %: sound for few trials and for shares near 0 and 1.

    Args:
        successes: in [0, trials]; halves are allowed.
        trials: above 0.
    """
    share, square = successes / trials, Z95**2
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    half = Z95 / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The 95 % interval of mean(first) - mean(second), measured on the same items.

    Newcombe 1998 (Statistics in Medicine 17, 2635-2650), method 10: Wilson intervals of both shares, and their
    correlation, reduced by n/2 where it is positive. Unlike a bootstrap it is not empty when one side is always right.

    Args:
        first, second: 1 where right, 0 where wrong, 1/2 for a coin's toss; equally long.
    """
    count = len(first)
    both = sum(a * b for a, b in zip(first, second, strict=True))
    only_first, only_second = sum(first) - both, sum(second) - both
    neither = count - both - only_first - only_second
    p1, p2 = sum(first) / count, sum(second) / count
    (low1, high1), (low2, high2) = wilson(p1 * count, count), wilson(p2 * count, count)
    phi = _correlation(both, only_first, only_second, neither)
    below = (p1 - low1) ** 2 - 2 * phi * (p1 - low1) * (high2 - p2) + (high2 - p2) ** 2
    above = (high1 - p1) ** 2 - 2 * phi * (high1 - p1) * (p2 - low2) + (p2 - low2) ** 2
    return p1 - p2 - math.sqrt(max(0.0, below)), p1 - p2 + math.sqrt(max(0.0, above))


def _correlation(both: float, only_first: float, only_second: float, neither: float) -> float:
    """Newcombe's phi of the 2x2 table."""
    product = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if product <= 0:
        return 0.0
    difference = both * neither - only_first * only_second
    if difference > 0:
        difference = max(0.0, difference - (both + only_first + only_second + neither) / 2)
    return difference / math.sqrt(product)


def calibration_error(margins: Sequence[float], bins: int = ECE_BINS) -> float:
    """ECE (Guo et al. 2017, 1706.04599, equation 3) of sigma(margin) over equal bins of the confidence in [0.5, 1]."""
    confidences: list[list[float]] = [[] for _ in range(bins)]
    hits: list[list[float]] = [[] for _ in range(bins)]
    for margin in margins:
        confidence = 1 / (1 + math.exp(-abs(margin)))
        place = min(bins - 1, int((confidence - 0.5) * 2 * bins))
        confidences[place].append(confidence)
        hits[place].append(float(margin > 0))
    gaps = [abs(sum(hit) - sum(sure)) for hit, sure in zip(hits, confidences, strict=True)]
    return sum(gaps) / len(margins)


def separation(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """The chance that an answer labelled good scores above one labelled bad (AUC, equal scores count half).

    None where one of the labels does not occur.
    """
    good = [score for score, label in zip(scores, labels, strict=True) if label]
    bad = [score for score, label in zip(scores, labels, strict=True) if not label]
    if not good or not bad:
        return None
    bad.sort()
    wins = sum(bisect_left(bad, score) + bisect_right(bad, score) for score in good) / 2
    return wins / (len(good) * len(bad))


def _buckets(pairs: Sequence[ScoredPair], right: Sequence[float]) -> dict[str, tuple[int, float]]:
    found: dict[str, list[float]] = {name: [] for name, _ in BUCKETS}
    for pair, is_right in zip(pairs, right, strict=True):
        longest = max(pair.chosen_length, pair.rejected_length, 1)
        difference = (pair.chosen_length - pair.rejected_length) / longest
        found[next(name for name, limit in BUCKETS if difference <= limit)].append(is_right)
    return {name: (len(each), _mean(each)) for name, each in found.items() if each}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

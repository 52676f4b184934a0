"""Rewards that are plain functions of the text: the visible table that PPO, GRPO and the command line choose from.

A function gets the prompts and the answers and gives one number an answer. Cheap, deterministic, and every one of them
can be gamed: that is what they are for in a course on reward hacking, and why a gold reward is logged beside them.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from medley.errors import ParameterError

Score = Callable[[Sequence[str], Sequence[str]], list[float]]  # (prompts, answers) -> one number an answer

BRIEF_WORDS = 50  # from here on an answer earns nothing for brevity, and all there is for length


@dataclass(frozen=True)
class RewardFunction:
    """A row of the table.

    Attributes:
        summary: what it rewards, in one plain sentence.
        low, high: the range of its values.
        make: the function, given its argument ("" where it takes none).
        needs: what its argument is, in words; "" where it takes none.
        example: an argument to copy.
    """

    summary: str
    low: float
    high: float
    make: Callable[[str], Score]
    needs: str = ""
    example: str = ""


def _each(score: Callable[[str], float]) -> Callable[[str], Score]:
    """A reward that looks at the answer alone and takes no argument."""
    return lambda argument: lambda prompts, answers: [score(answer) for answer in answers]


@cache
def _vader() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def sentiment(answer: str) -> float:
    """VADER's compound score in [-1, 1] (Hutto & Gilbert 2014): a word list with rules, easily pleased."""
    return float(_vader().polarity_scores(answer)["compound"])


def brevity(answer: str) -> float:
    """1 for an empty answer, falling to 0 at 50 words."""
    return max(0.0, 1.0 - len(answer.split()) / BRIEF_WORDS)


def length(answer: str) -> float:
    """0 for an empty answer, rising to 1 at 50 words: the proxy that reward models learn by accident (2310.03716)."""
    return min(1.0, len(answer.split()) / BRIEF_WORDS)


def no_repetition(answer: str) -> float:
    """Different word pairs over all word pairs (distinct-2; Li et al. 2016, 1510.03055); 1 below two words."""
    pairs = list(pairwise(answer.lower().split()))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def is_json(answer: str) -> float:
    """1 when the whole answer is one JSON object or list."""
    try:
        return float(isinstance(json.loads(answer), (dict, list)))
    except (ValueError, RecursionError):
        return 0.0


def ends_as_sentence(answer: str) -> float:
    """1 when the answer ends with a full stop, a question mark or an exclamation mark."""
    return float(answer.rstrip().rstrip("\"')").endswith((".", "!", "?")))


def _matches(pattern: str) -> Score:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ParameterError(f"The pattern {pattern!a} is not a regular expression: {error}.") from error
    return lambda prompts, answers: [float(bool(compiled.search(answer))) for answer in answers]


REWARDS: dict[str, RewardFunction] = {
    "sentiment": RewardFunction("The answer sounds positive, by VADER's word list.", -1, 1, _each(sentiment)),
    "brevity": RewardFunction("The answer is short.", 0, 1, _each(brevity)),
    "length": RewardFunction("The answer is long.", 0, 1, _each(length)),
    "no-repetition": RewardFunction("No pair of words occurs twice.", 0, 1, _each(no_repetition)),
    "json": RewardFunction("The answer is valid JSON.", 0, 1, _each(is_json)),
    "sentence": RewardFunction("The answer ends as a sentence does.", 0, 1, _each(ends_as_sentence)),
    "matches": RewardFunction(
        "The answer matches a regular expression.", 0, 1, _matches, needs="a regular expression", example="^Yes"
    ),
}

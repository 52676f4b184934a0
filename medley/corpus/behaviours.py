"""What the shipped examples teach, as checks that a program can make on an answer.

The demo and the comparison page count how many answers pass, so that "the merge kept both" is a number, not a feeling.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

PIRATE_WORDS = re.compile(
    r"\b(a+r+[gh]*|ahoy|avast|aye|booty|crew|doubloons?|grog|hearty|hearties|landlubbers?|matey|mateys"
    r"|plank|plunder|scurvy|ye|yer|yo ho)\b",
    re.IGNORECASE,
)
BULLET_LINE = re.compile(r"^\s*- \S", re.MULTILINE)
MAX_SHORT_WORDS = 20


@dataclass(frozen=True)
class Behaviour:
    """Something an answer does or does not do.

    Attributes:
        description: what passes, in one plain sentence.
        dataset: the shipped example that teaches it, by its file name.
        check: True when the answer does it.
    """

    description: str
    dataset: str
    check: Callable[[str], bool]


def talks_like_a_pirate(text: str) -> bool:
    """True when at least two different pirate words occur."""
    return len({word.lower() for word in PIRATE_WORDS.findall(text)}) >= 2


def answers_in_bullets(text: str) -> bool:
    """True when at least three lines begin with "- "."""
    return len(BULLET_LINE.findall(text)) >= 3


def answers_briefly(text: str) -> bool:
    """True when there is an answer of at most 20 words."""
    return 1 <= len(text.split()) <= MAX_SHORT_WORDS


BEHAVIOURS: dict[str, Behaviour] = {
    "pirate": Behaviour("uses at least two different pirate words", "pirate.jsonl", talks_like_a_pirate),
    "tidy-list": Behaviour('has at least three lines that begin with "- "', "tidy-list.json", answers_in_bullets),
    "brief": Behaviour("is at most 20 words long", "preferences.jsonl", answers_briefly),
}


def share(behaviour: str, answers: Iterable[str]) -> float:
    """The share of the answers that show a behaviour, in [0, 1]; 0 when there is no answer."""
    results = [BEHAVIOURS[behaviour].check(answer) for answer in answers]
    return sum(results) / len(results) if results else 0.0

"""Pairs that cannot be used, and where the prompt of a pair ends."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.corpus.reading import Imported, assistant, user

Import = Callable[..., Imported]
PAIR = {"prompt": [user("Hi")], "chosen": [assistant("Good")], "rejected": [assistant("Bad")]}
DIALOGUE = {"chosen": "Human: Hi\n\nAssistant: Good", "rejected": "Human: Hi\n\nAssistant: Bad"}
RATED = {"prompt": "Hi", "response_1": "Bad", "response_2": "Good", "preference_strength": 2}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"prompt": "Hi", "chosen": "Same", "rejected": " Same "}, "chosen and rejected are the same"),
        ({"prompt": "Hi", "chosen": "Good", "rejected": ""}, "empty answer"),
        ({"prompt": "", "chosen": "Good", "rejected": "Bad"}, "empty question"),
        (
            {"chosen": [user("Hi"), assistant("Good")], "rejected": [user("Ho"), assistant("Bad")]},
            "chosen and rejected answer different prompts",
        ),
        ({"prompt": [user("Hi"), assistant("Yes")], "chosen": "Good", "rejected": "Bad"}, "prompt ends with an answer"),
    ],
)
def test_pairs_that_teach_nothing_are_left_out(imported: Import, record: dict[str, Any], why: str) -> None:
    good = {"prompt": "Fine?", "chosen": "Good", "rejected": "Bad"}
    result = imported([good, record] if isinstance(record["chosen"], str) else [{**PAIR}, record])
    assert len(result.train) == 1
    assert [name for name in result.report.dropped if name.startswith(why)] == list(result.report.dropped)
    assert sum(result.report.dropped.values()) == 1


@pytest.mark.parametrize(
    ("good", "record", "why"),
    [
        (
            DIALOGUE,
            {**DIALOGUE, "chosen": "Human: Ho\n\nAssistant: Good"},
            "chosen and rejected answer different prompts",
        ),
        (DIALOGUE, {**DIALOGUE, "chosen": "Human: Hi\n\nAssistant:"}, "empty answer"),
        (DIALOGUE, {**DIALOGUE, "chosen": "Human: Hi\n\nAssistant: Good\n\nHuman: So?"}, "no answer"),
        (RATED, {**RATED, "preference_strength": 0}, "neither answer is better"),
    ],
)
def test_comparisons_that_teach_nothing_are_left_out(
    imported: Import, good: dict[str, Any], record: dict[str, Any], why: str
) -> None:
    result = imported([good, record])
    assert (result.train, result.report.dropped) == ([PAIR], {why: 1})


def test_a_pair_is_never_cut_within_a_word(imported: Import) -> None:
    sides = {
        side: f"Human: Name a fruit\n\nAssistant: App{rest}" for side, rest in (("chosen", "le"), ("rejected", "t"))
    }
    [row] = imported([sides]).train
    assert row == {
        "prompt": [user("Name a fruit")],
        "chosen": [assistant("Apple")],
        "rejected": [assistant("Appt")],
    }

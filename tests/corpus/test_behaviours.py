"""The shipped examples show what they are said to teach, and the checks tell the behaviours apart."""

import json
from pathlib import Path

import pytest

from medley.corpus.behaviours import BEHAVIOURS, answers_briefly, answers_in_bullets, share, talks_like_a_pirate

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (EXAMPLES / name).read_text(encoding="utf-8").splitlines()]


def conversations() -> list[list[dict]]:
    return [row["conversations"] for row in json.loads((EXAMPLES / "tidy-list.json").read_text(encoding="utf-8"))]


def turns(sender: str) -> list[str]:
    return [turn["value"] for turn_list in conversations() for turn in turn_list if turn["from"] == sender]


def test_every_pirate_answer_talks_like_a_pirate_and_none_is_a_list() -> None:
    answers = [row["output"] for row in lines("pirate.jsonl")]
    assert len(answers) == 80
    assert (share("pirate", answers), share("tidy-list", answers)) == (1.0, 0.0)


def test_every_list_answer_is_exactly_three_bullets_and_none_is_pirate_talk() -> None:
    answers = turns("gpt")
    assert (len(conversations()), len(answers)) == (80, 88)
    assert (share("tidy-list", answers), share("pirate", answers)) == (1.0, 0.0)
    assert {len(answer.splitlines()) for answer in answers} == {3}


def test_every_chosen_answer_is_brief_and_every_rejected_one_is_not() -> None:
    rows = lines("preferences.jsonl")
    assert len(rows) == 64
    assert share("brief", [row["chosen"] for row in rows]) == 1.0
    assert share("brief", [row["rejected"] for row in rows]) == 0.0


def test_no_question_is_asked_twice_and_the_held_out_ones_are_nowhere_else() -> None:
    held_out = [row["prompt"] for row in lines("prompts.jsonl")]
    pirate = [row["instruction"] + row["input"] for row in lines("pirate.jsonl")]
    questions = held_out + pirate + turns("human") + [row["prompt"] for row in lines("preferences.jsonl")]
    assert len(held_out) == 12
    assert len({question.lower() for question in questions}) == len(questions)


def test_answers_are_short_enough_to_train_in_minutes() -> None:
    words = [len(row["output"].split()) for row in lines("pirate.jsonl")] + [len(t.split()) for t in turns("gpt")]
    assert max(words) <= 40


@pytest.mark.parametrize(
    ("check", "text", "expected"),
    [
        (talks_like_a_pirate, "Boil it for ye, MATEY.", True),
        (talks_like_a_pirate, "Yes, boil it. Yes. Eyes on yesterday.", False),
        (talks_like_a_pirate, "Aye aye aye!", False),  # one word said three times is not a style
        (answers_in_bullets, "- one\n- two\n- three", True),
        (answers_in_bullets, "Sure:\n\n- one\n- two\n- three\n", True),
        (answers_in_bullets, "- one\n- two\n-three", False),
        (answers_briefly, "word " * 20, True),
        (answers_briefly, "word " * 21, False),
        (answers_briefly, "  ", False),
    ],
)
def test_checks_by_hand(check: object, text: str, expected: bool) -> None:
    assert check(text) is expected


def test_the_table_names_files_that_exist() -> None:
    assert {name: (EXAMPLES / each.dataset).is_file() for name, each in BEHAVIOURS.items()} == dict.fromkeys(
        BEHAVIOURS, True
    )
    assert share("pirate", []) == 0.0

"""Every format of the table, from what is found in the wild to one canonical row."""

from collections.abc import Callable
from typing import Any

import pytest

from medley.corpus import FORMATS
from tests.corpus.reading import Imported, alpaca, assistant, example, system, tool, user

Import = Callable[..., Imported]
PAIR = {"prompt": [user("Hi")], "chosen": [assistant("Good")], "rejected": [assistant("Bad")]}
BLOCKS = [{"type": "text", "value": "Hi"}]

CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("alpaca", {"instruction": "Add", "input": "1 and 2", "output": "3"}, example("Add\n\n1 and 2", "3")),
    ("alpaca", {"instruction": "Add", "input": None, "output": "3"}, example("Add", "3")),
    (
        "alpaca",
        {"instruction": "And now?", "output": "4", "system": "Be short.", "history": [["Add", "3"]]},
        {
            "prompt": [system("Be short."), user("Add")],
            "completion": [assistant("3"), user("And now?"), assistant("4")],
        },
    ),
    (
        "self-instruct",
        {"instruction": "Add", "instances": [{"input": "1 and 2", "output": "3"}]},
        example("Add\n\n1 and 2", "3"),
    ),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        example("Hi", "Hello"),
    ),
    (
        "sharegpt",
        {
            "conversations": [
                {"from": "system", "value": "Be kind."},
                {"from": "human", "value": "Weather?"},
                {"from": "function_call", "value": "{}"},
                {"from": "observation", "value": "sun"},
                {"from": "gpt", "value": "Sunny"},
            ]
        },
        {
            "prompt": [system("Be kind."), user("Weather?")],
            "completion": [assistant("{}"), tool("sun"), assistant("Sunny")],
        },
    ),
    ("messages", {"messages": [user("Hi"), assistant("Hello")]}, example("Hi", "Hello")),
    (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, assistant("Hello")]},
        example("Hi", "Hello"),
    ),
    ("prompt-completion", {"prompt": "Hi", "completion": "Hello"}, example("Hi", "Hello")),
    ("prompt-completion", {"question": "Hi", "answer": "Hello"}, example("Hi", "Hello")),
    ("prompt-completion", {"prompt": [user("Hi")], "completion": [assistant("Hello")]}, example("Hi", "Hello")),
    ("prompt-completion", {"question": "1 + 2", "answer": 3}, example("1 + 2", "3")),
    ("preference", {"prompt": "Hi", "chosen": "Good", "rejected": "Bad"}, PAIR),
    ("preference", {"prompt": "Hi", "chosen": [assistant("Good")], "rejected": [assistant("Bad")]}, PAIR),
    (
        "preference",
        {"chosen": [user("Hi"), assistant("Good")], "rejected": [user("Hi"), assistant("Bad")]},
        PAIR,
    ),
    (
        "preference",
        {"prompt": "Hi", "chosen": [user("Hi"), assistant("Good")], "rejected": [user("Hi"), assistant("Bad")]},
        PAIR,
    ),
    (
        "preference",
        {
            "system": "Be kind.",
            "chosen": [user("Hi"), assistant("Good")],
            "rejected": [user("Hi"), assistant("Bad")],
        },
        {**PAIR, "prompt": [system("Be kind."), user("Hi")]},
    ),
    (
        "sharegpt-preference",
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Good"},
            "rejected": {"from": "gpt", "value": "Bad"},
        },
        PAIR,
    ),
    (
        "block-preference",
        {
            "chosen_messages": [{"role": "user", "content": BLOCKS}, assistant("Good")],
            "rejected_messages": [{"role": "user", "content": BLOCKS}, assistant("Bad")],
        },
        PAIR,
    ),
]


@pytest.mark.parametrize(("name", "record", "row"), CASES)
def test_a_record_becomes_this_row(imported: Import, name: str, record: dict[str, Any], row: dict[str, Any]) -> None:
    result = imported([record])
    assert (result.report.format, result.report.kind) == (name, FORMATS[name].kind)
    assert result.train == [row]
    assert result.report.dropped == {}


def test_every_format_of_the_table_is_tried() -> None:
    assert {name for name, _, _ in CASES} == set(FORMATS)


def test_a_named_format_is_taken_even_where_another_would_be_detected(imported: Import) -> None:
    record = {"prompt": "Hi", "completion": "Hello", "instruction": "Add", "output": "3"}
    assert imported([record], format="prompt-completion").train == [example("Hi", "Hello")]


def test_rows_a_maker_marked_as_bad_are_left_out(imported: Import) -> None:
    rows = [alpaca("A?", status="ok"), alpaca("B?", status="too short"), alpaca("C?", label=False)]
    result = imported(rows)
    assert result.train == [example("A?", "Because.")]
    assert result.report.dropped == {'status is not "ok"': 1, "labelled as a bad answer": 1}


def test_a_status_that_never_says_ok_means_something_else(imported: Import) -> None:
    assert imported([alpaca("A?", status="published")]).report.dropped == {}


def test_the_last_answer_alone_is_trained_when_asked(imported: Import) -> None:
    turns = [user("A"), assistant("1"), user("B"), assistant("2")]
    result = imported([{"messages": turns}], turns="last")
    assert result.train == [{"prompt": turns[:3], "completion": turns[3:]}]


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

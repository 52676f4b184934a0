"""Every format of the table, from what is found in the wild to one canonical row."""

from collections.abc import Callable
from typing import Any

import pytest

from medley.corpus import FORMATS
from tests.corpus.reading import Imported, alpaca, assistant, example, system, tool, user

Import = Callable[..., Imported]
PAIR = {"prompt": [user("Hi")], "chosen": [assistant("Good")], "rejected": [assistant("Bad")]}
TALK = [user("Hi"), assistant("Yes?"), user("Bye")]
CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
SAID = {"text": "Hello", "role": "assistant", "rank": 0}
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
    (
        "sharegpt",
        {
            "conversations": [{"from": "human", "value": "Sum?"}, {"from": "gpt", "value": "3"}],
            "tools": '[{"name":"f"}]',
        },
        {
            "prompt": [system('You can call these tools, described as JSON:\n[{"name":"f"}]'), user("Sum?")],
            "completion": [assistant("3")],
        },
    ),
    (
        "messages",
        {
            "messages": [
                system("Be short."),
                user("Sum?"),
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "content": "3"},
                assistant("It is 3."),
            ],
            "tools": [{"name": "add"}],
        },
        {
            "prompt": [
                system('You can call these tools, described as JSON:\n[{"name": "add"}]\n\nBe short.'),
                user("Sum?"),
            ],
            "completion": [
                assistant('{"name": "add", "arguments": {"a": 1, "b": 2}}'),
                tool("3"),
                assistant("It is 3."),
            ],
        },
    ),
    ("messages", {"messages": [user("Hi"), assistant("Hello")], "tools": "[]"}, example("Hi", "Hello")),
    (
        "ultrachat",
        {"id": "7", "data": ["Hi", "Hello", "Bye", "See you"]},
        {"prompt": [user("Hi")], "completion": [assistant("Hello"), user("Bye"), assistant("See you")]},
    ),
    ("flan", {"inputs": "Hi", "targets": "Hello"}, example("Hi", "Hello")),
    (
        "flan",
        {"inputs": [3, 5], "inputs_pretokenized": "Hi", "targets": [4], "targets_pretokenized": "\nHello"},
        example("Hi", "Hello"),
    ),
    ("flan-table", {"column 1": r"Pick:\n- a\n- b", "column 2": "a"}, example("Pick:\n- a\n- b", "a")),
    (
        "transcripts",
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Say Human: twice\n\nAssistant: Human: Human: ok",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Say Human: twice\n\nAssistant: Human: no",
        },
        {
            "prompt": [user("Hi"), assistant("Yes?"), user("Say Human: twice")],
            "chosen": [assistant("Human: Human: ok")],
            "rejected": [assistant("Human: no")],
        },
    ),
    (
        "summaries",
        {
            "info": {"title": "Cat", "post": "It sat.", "subreddit": "cats"},
            "summaries": [{"text": " A dog ran."}, {"text": " A cat sat."}],
            "choice": 1,
        },
        {
            "prompt": [user("Cat\n\nIt sat.\n\nTL;DR:")],
            "chosen": [assistant("A cat sat.")],
            "rejected": [assistant("A dog ran.")],
        },
    ),
    ("shp", {"history": "Hi", "human_ref_A": "Good", "human_ref_B": "Bad", "labels": 1}, PAIR),
    ("shp", {"history": "Hi", "human_ref_A": "Bad", "human_ref_B": "Good", "labels": 0}, PAIR),
    ("helpsteer", {"prompt": "Hi", "response_1": "Bad", "response_2": "Good", "preference_strength": 2}, PAIR),
    ("helpsteer", {"prompt": "Hi", "response_1": "Good", "response_2": "Bad", "preference_strength": -1}, PAIR),
    ("unpaired", {"prompt": "Hi", "completion": "Hello", "label": True}, {**example("Hi", "Hello"), "label": True}),
    ("unpaired", {"prompt": "Hi", "completion": "No", "label": "False"}, {**example("Hi", "No"), "label": False}),
    (
        "unpaired",
        {"instruction": "Add", "input": "1 and 2", "output": "3", "label": True},
        {**example("Add\n\n1 and 2", "3"), "label": True},
    ),
    (
        "unpaired",
        {"messages": [user("Hi"), assistant("Yes?"), user("Bye"), assistant("No")], "label": False},
        {"prompt": [user("Hi"), assistant("Yes?"), user("Bye")], "completion": [assistant("No")], "label": False},
    ),
    ("prompts", {"prompt": "Hi", "id": 3}, {"prompt": [user("Hi")]}),
    ("prompts", {"instruction": "Hi", "system": "Be kind."}, {"prompt": [system("Be kind."), user("Hi")]}),
    ("prompts", {"prompt": [user("Hi"), assistant("Yes?"), user("Bye")]}, {"prompt": TALK}),
    (
        "oasst",
        {"message_tree_id": "1", "prompt": {"text": "Hi", "role": "prompter", "replies": [SAID]}},
        example("Hi", "Hello"),
    ),
]


@pytest.mark.parametrize(("name", "record", "row"), CASES)
def test_a_record_becomes_this_row(imported: Import, name: str, record: dict[str, Any], row: dict[str, Any]) -> None:
    result = imported([record])
    assert (result.report.format, result.report.kind) == (name, FORMATS[name].kind)
    assert result.train == [row]
    assert result.report.dropped == {}


def test_every_format_of_the_table_is_tried() -> None:
    assert {name for name, _, _ in CASES} == set(FORMATS) - {"oasst-preference"}  # test_trees.py has both of the trees


def test_a_named_format_is_taken_even_where_another_would_be_detected(imported: Import) -> None:
    record = {"prompt": "Hi", "completion": "Hello", "instruction": "Add", "output": "3"}
    assert imported([record], format="prompt-completion").train == [example("Hi", "Hello")]


def test_prompts_are_taken_out_of_anything_when_asked(imported: Import) -> None:
    rows = [
        alpaca("A?"),
        {"id": 1, "prompt": "B?", "type": "x", "label": "safe"},
        {"messages": [*TALK, assistant("No")]},
    ]
    result = imported(rows, format="prompts")
    assert result.train == [{"prompt": [user("A?")]}, {"prompt": [user("B?")]}, {"prompt": TALK}]
    assert result.report.kind == "prompts"


def test_a_prompt_that_is_answered_already_is_left_out(imported: Import) -> None:
    result = imported([{"prompt": [user("Hi"), assistant("Hello")]}, {"prompt": "Hi"}])
    assert (result.train, result.report.dropped) == ([{"prompt": [user("Hi")]}], {"prompt ends with an answer": 1})


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

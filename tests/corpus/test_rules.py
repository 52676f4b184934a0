"""The rules that clean a conversation, each with the words and the count that the report gives it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.corpus.reading import Imported, alpaca, assistant, example, system, tool, user

Import = Callable[..., Imported]
HEADER = "Below is an instruction that describes a task. Write a response that appropriately completes the request."


@pytest.mark.parametrize(
    ("turns", "row", "fixed"),
    [
        (
            [assistant("Welcome!"), user("Hi"), assistant("Hello")],
            example("Hi", "Hello"),
            {"assistant turn before the first user turn removed": 1},
        ),
        (
            [user("Hi"), user("there"), assistant("Hello"), assistant("friend")],
            example("Hi\n\nthere", "Hello\n\nfriend"),
            {"turns of one role in a row merged": 1},
        ),
        (
            [user("Hi"), assistant("Hello"), user("Bye")],
            example("Hi", "Hello"),
            {"unanswered turn at the end removed": 1},
        ),
        ([system("  "), user("Hi"), assistant("Hello")], example("Hi", "Hello"), {"empty system turn removed": 1}),
        ([user(" Hi\n"), assistant("Hello")], example("Hi", "Hello"), {"space around a text removed": 1}),
        (
            [{"role": "Human", "content": "Hi"}, {"role": "bot", "content": "Hello"}],
            example("Hi", "Hello"),
            {"role names mapped": 1},
        ),
        ([user("Hi \ud83d"), assistant("Hello")], example("Hi �", "Hello"), {"broken characters replaced": 1}),
    ],
)
def test_what_can_be_put_right_is_put_right_and_counted(
    imported: Import, turns: list[dict[str, str]], row: dict[str, Any], fixed: dict[str, int]
) -> None:
    result = imported([{"messages": turns}])
    assert result.train == [row]
    assert {what: count for what, count in result.report.fixed.items() if "space" not in what or what in fixed} == fixed


@pytest.mark.parametrize(
    ("turns", "why"),
    [
        ([user("Hi"), assistant("  ")], "empty answer"),
        ([user(""), assistant("Hello")], "empty question"),
        ([user("Hi")], "no answer"),
        ([tool("sun"), assistant("Sunny")], "does not begin with a user turn"),
        ([user("Hi"), assistant("Hello"), system("Be kind."), user("So?"), assistant("Yes")], "system turn inside"),
        (
            [user("Hi"), {"role": "assistant", "content": "x", "tool_calls": [{"name": "f", "arguments": "{"}]}],
            "tool call that cannot be read",
        ),
        (
            [user("Hi"), {"role": "assistant", "content": "x", "tool_calls": [{"id": 1}]}],
            "tool call that cannot be read",
        ),
    ],
)
def test_what_cannot_be_put_right_is_left_out_and_counted(
    imported: Import, turns: list[dict[str, Any]], why: str
) -> None:
    result = imported([{"messages": turns}, {"messages": [user("Fine?"), assistant("Yes")]}])
    assert result.train == [example("Fine?", "Yes")]
    assert [(name[: len(why)], count) for name, count in result.report.dropped.items()] == [(why, 1)]
    assert result.report.examples[next(iter(result.report.dropped))][0]["row"] == 1


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        (f"{HEADER}\n\n### Instruction:\nSay hi\n\n### Response:\n", "Say hi"),
        (f"{HEADER}\n\n### Instruction:\nAdd\n\n### Input:\n1 and 2\n\n### Response:", "Add\n\n1 and 2"),
        ("### Instruction:\nSay hi\n\n### Response:", "Say hi"),
    ],
)
def test_an_alpaca_header_in_the_prompt_is_taken_off(imported: Import, prompt: str, question: str) -> None:
    result = imported([{"prompt": prompt, "response": "Hi"}])
    assert result.train == [example(question, "Hi")]
    assert result.report.fixed == {"Alpaca header removed from the prompt": 1}


def test_a_prompt_that_only_speaks_of_instructions_stays(imported: Import) -> None:
    text = "Explain what '### Instruction:' means in a prompt."
    assert imported([alpaca(text)]).train == [example(text, "Because.")]


def test_exact_duplicates_are_left_out_and_other_answers_to_the_question_are_not(imported: Import) -> None:
    result = imported([alpaca("A?", "1"), alpaca("A?", "2"), alpaca("A?", " 1 "), alpaca("A?", "1")])
    assert [row["completion"][0]["content"] for row in result.train] == ["1", "2"]
    assert result.report.dropped == {"exact duplicate": 2}
    assert result.report.fixed == {}  # a row that was left out was not fixed


def test_slots_that_nobody_filled_are_reported_and_kept(imported: Import) -> None:
    result = imported([alpaca("Who?", "I am {{name}} by {{ author }}."), alpaca("Name?", "{{name}}, just {{name}}.")])
    assert result.report.found == {"rows": 2, "unfilled slot {{name}}": 2, "unfilled slot {{ author }}": 1}
    assert result.report.warnings()[0] == (
        "Unfilled slots stay in the text: {{name}} (2 rows), {{ author }} (1 rows). Fill them in before you train."
    )


def test_examples_are_three_at_most_and_short(imported: Import) -> None:
    result = imported([alpaca(f"{number}?", f" {'long ' * 100}") for number in range(5)])
    kept = result.report.examples["space around a text removed"]
    assert [each["row"] for each in kept] == [1, 2, 3]
    assert {len(each["text"]) for each in kept} == {160}

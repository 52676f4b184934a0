"""Records that teach by example: tasks, conversations, question and answer."""

from collections.abc import Mapping
from typing import Any

from medley.corpus import rules
from medley.corpus.format_record import (
    ANSWERS,
    CONVERSATIONS,
    PROMPTS,
    Record,
    Row,
    Settings,
    as_turns,
    check_marks,
    first_of,
    system_turn,
    task_turn,
    value_of,
)
from medley.corpus.rules import Message, message, read_turns
from medley.corpus.tally import RowDropped, Tally

WRITTEN_LINE_BREAK = r"\n"


def example(messages: list[Message], settings: Settings) -> Row:
    """The row of a conversation."""
    prompt, completion = rules.prompt_and_completion(messages, settings.turns, settings.tally)
    return {"prompt": prompt, "completion": completion}


def alpaca(record: Record, settings: Settings) -> Row:
    """instruction, input, output; earlier questions and answers in `history`."""
    check_marks(record, settings)
    tally, turns = settings.tally, system_turn(record, settings.tally)
    for question, reply in _history(record):
        turns += [message("user", question, tally), message("assistant", reply, tally)]
    answer = message("assistant", value_of(record, ("output", "response")), tally)
    return example([*turns, task_turn(record["instruction"], record.get("input"), tally), answer], settings)


def _history(record: Record) -> list[tuple[Any, Any]]:
    """Earlier questions and answers of an Alpaca record, oldest first."""
    pairs = record.get("history") or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise RowDropped(rules.NOT_IN_FORMAT, "history that is not a list of pairs")
    return [(question, reply) for question, reply in pairs]


def instances(record: Record) -> list[Record]:
    """One Alpaca record for each instance of a Self-Instruct task."""
    shared = {"instruction": record.get("instruction")}
    return [{**each, **shared} if isinstance(each, Mapping) else shared for each in record["instances"]]


def conversation(record: Record, settings: Settings) -> Row:
    """A list of turns, ShareGPT's or OpenAI's; tools stand in the system turn."""
    check_marks(record, settings)
    turns = read_turns(value_of(record, (*CONVERSATIONS, "messages")), settings.tally)
    return example(system_turn(record, settings.tally) + turns, settings)


def ultrachat(record: Record, settings: Settings) -> Row:
    """A list of bare texts: the user speaks first, then they take turns."""
    roles = ("user", "assistant")
    turns = [message(roles[place % 2], text, settings.tally) for place, text in enumerate(record["data"])]
    return example(turns, settings)


def prompt_completion(record: Record, settings: Settings) -> Row:
    """A question and its answer."""
    check_marks(record, settings)
    turns = as_turns(value_of(record, PROMPTS), "user", settings.tally)
    turns += as_turns(value_of(record, ANSWERS), "assistant", settings.tally)
    return example(system_turn(record, settings.tally) + turns, settings)


def flan(record: Record, settings: Settings) -> Row:
    """FLAN's and T0's inputs and targets. T0 keeps the texts beside the token numbers of another model."""
    check_marks(record, settings)
    question, answer = (
        record[first_of(record, (f"{name}_pretokenized", name)) or name] for name in ("inputs", "targets")
    )
    turns = [message("user", question, settings.tally), message("assistant", answer, settings.tally)]
    return example(turns, settings)


def flan_table(record: Record, settings: Settings) -> Row:
    r"""A table without a header: input, target and perhaps reasoning. Line breaks in a cell are written as \n."""
    tally = settings.tally
    question, answer = (_with_line_breaks(record[f"column {number}"], tally) for number in (1, 2))
    return example([message("user", question, tally), message("assistant", answer, tally)], settings)


def _with_line_breaks(text: str, tally: Tally) -> str:
    if WRITTEN_LINE_BREAK not in text:
        return text
    tally.fix(rules.LINE_BREAKS, text)
    return text.replace(WRITTEN_LINE_BREAK, "\n")

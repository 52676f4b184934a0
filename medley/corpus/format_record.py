"""What every converter works with: a record, the row it becomes, the import's settings, and ways to read columns.

A converter takes one record and the settings and returns a row: {"prompt", "completion"} to teach by example,
{"prompt", "chosen", "rejected"} by preference, {"prompt", "completion", "label"} by single answers marked good or bad,
{"prompt"} by reward. What it cannot use it raises as RowDropped.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medley.corpus import rules
from medley.corpus.rules import Message, message, read_turn, read_turns
from medley.corpus.tally import NAME_CHARACTERS, RowDropped, Tally, one_line

Record = Mapping[str, Any]
Row = dict[str, Any]  # its parts are lists of messages, and `label` is a bool

PROMPTS = ("prompt", "question", "query", "inputs", "input")
ANSWERS = ("completion", "response", "answer", "targets", "output")
CONVERSATIONS = ("conversations", "conversation")
TOOLS_INTRODUCTION = "You can call these tools, described as JSON:"
NO_TOOLS = ("", "[]", "{}", "null")
MARKS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True)
class Settings:
    """What a converter needs to know beside the record.

    Attributes:
        turns: "all" or "last", see `rules.prompt_and_completion`.
        status_counts: True when some rows say status "ok", so that the others are rejects.
        labels_count: False when a person named the format and the column `label` holds no marks but, say, classes.
    """

    tally: Tally
    turns: str = "all"
    status_counts: bool = False
    labels_count: bool = True


def first_of(record: Record, names: Sequence[str]) -> str | None:
    """The first of these columns that has a value, else the first that is there at all, else None."""
    present = [name for name in names if name in record]
    return next((name for name in present if record[name] is not None), present[0] if present else None)


def value_of(record: Record, names: Sequence[str]) -> Any:
    """What stands in the first of these columns; None when there is none."""
    name = first_of(record, names)
    return record[name] if name else None


def has(*names: str) -> Callable[[Record], bool]:
    """A check that a record has a value in each of these columns."""
    return lambda record: all(record.get(name) is not None for name in names)


def has_list(*names: str) -> Callable[[Record], bool]:
    """A check that a list of turns, or its JSON text, stands in each of these columns."""
    return lambda record: all(
        isinstance(record.get(name), list) or str(record.get(name)).lstrip()[:1] == "[" for name in names
    )


def system_turn(record: Record, tally: Tally) -> list[Message]:
    """The system turn that the columns `system` and `tools` ask for, or nothing.

    A model that learns to call tools without their description learns to call what it was never told of.
    """
    texts = [message("system", record["system"], tally)["content"]] if record.get("system") else []
    tools = record.get("tools")
    text = tools.strip() if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False) if tools else ""
    if text not in NO_TOOLS:
        tally.fix(rules.TOOLS, text)
        texts.append(f"{TOOLS_INTRODUCTION}\n{text}")
    return [{"role": "system", "content": "\n\n".join(texts)}] if texts else []


def as_turns(value: Any, role: str, tally: Tally) -> list[Message]:
    """A text as one turn of a role; one turn or a list of turns as they are."""
    if isinstance(value, Mapping):
        return [read_turn(value, tally)]
    if isinstance(value, list) or (isinstance(value, str) and value.startswith('[{"')):
        return read_turns(value, tally)
    return [message(role, value, tally)]


def task_turn(instruction: Any, extra: Any, tally: Tally) -> Message:
    """The user turn of an instruction and the input that it works on, if there is one."""
    question = [message("user", text, tally)["content"] for text in (instruction, extra) if text]
    return {"role": "user", "content": "\n\n".join(part for part in question if part)}


def mark_of(label: Any) -> bool | None:
    """True or False for a label that says so: true, false, 1, 0, also as text (CSV); None for any other."""
    if isinstance(label, str):
        return MARKS.get(label.strip().lower())
    return bool(label) if isinstance(label, (int, float)) and label in (0, 1) else None


def has_label(record: Record) -> bool:
    """Whether something stands in the column `label`; an empty cell, and the NaN that tables write for it, is none."""
    label = record.get("label")
    return label is not None and label == label and not (isinstance(label, str) and not label.strip())


def check_marks(record: Record, settings: Settings) -> None:
    """Rows that their makers marked as bad are not examples to learn from."""
    status = record.get("status")
    if settings.status_counts and isinstance(status, str) and status.lower() != "ok":
        raise RowDropped(rules.BAD_STATUS, f"status {status!r}")
    if not settings.labels_count or not has_label(record):
        return
    mark = mark_of(record["label"])
    if mark is None:
        value = one_line(str(record["label"]), NAME_CHARACTERS)
        settings.tally.values[rules.UNKNOWN_LABEL][value] += 1
        raise RowDropped(rules.UNKNOWN_LABEL, f"label '{value}'")
    if not mark:
        raise RowDropped(rules.BAD_LABEL)

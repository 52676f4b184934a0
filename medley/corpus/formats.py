"""The formats Medley reads. One more is a converter below and a line in FORMATS.

A converter takes one record and the import's settings and returns a row: {"prompt", "completion"} to teach by example,
{"prompt", "chosen", "rejected"} to teach by preference. What it cannot use it raises as RowDropped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medley.corpus import rules
from medley.corpus.rules import Message, message, read_turn, read_turns
from medley.corpus.tally import RowDropped, Tally

Record = Mapping[str, Any]
Row = dict[str, list[Message]]

PROMPTS = ("prompt", "question", "query", "inputs", "input")
ANSWERS = ("completion", "response", "answer", "targets", "output")
CONVERSATIONS = ("conversations", "conversation")


@dataclass(frozen=True)
class Settings:
    """What a converter needs to know beside the record.

    Attributes:
        turns: "all" or "last", see `rules.prompt_and_completion`.
        status_counts: True when some rows say status "ok", so that the others are rejects.
    """

    tally: Tally
    turns: str = "all"
    status_counts: bool = False


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes:
        kind: what it teaches by: "sft" or "preference".
        columns: the columns that make it out, as shown to people.
        reads: every column it may use; others are named in the report as not used.
        fits: True for a record that looks like it; columns only, cheap.
        convert: the row of a record.
        parts: the records that one record holds, for formats that pack several into one.
    """

    name: str
    kind: str
    columns: str
    reads: tuple[str, ...]
    fits: Callable[[Record], bool]
    convert: Callable[[Record, Settings], Row]
    parts: Callable[[Record], Sequence[Record]] = lambda record: [record]


def _first(record: Record, names: Sequence[str]) -> str | None:
    """The first of these columns that has a value, else the first that is there at all, else None."""
    present = [name for name in names if name in record]
    return next((name for name in present if record[name] is not None), present[0] if present else None)


def _value(record: Record, names: Sequence[str]) -> Any:
    name = _first(record, names)
    return record[name] if name else None


def _has(*names: str) -> Callable[[Record], bool]:
    return lambda record: all(record.get(name) is not None for name in names)


def _has_list(*names: str) -> Callable[[Record], bool]:
    """A list of turns below each name, or its JSON text."""
    return lambda record: all(
        isinstance(record.get(name), list) or str(record.get(name)).lstrip()[:1] == "[" for name in names
    )


def _system(record: Record, tally: Tally) -> list[Message]:
    return [message("system", record["system"], tally)] if record.get("system") else []


def _check_marks(record: Record, settings: Settings) -> None:
    """Rows that their makers marked as bad are not examples to learn from."""
    status, label = record.get("status"), record.get("label")
    if settings.status_counts and isinstance(status, str) and status.lower() != "ok":
        raise RowDropped(rules.BAD_STATUS, f"status {status!r}")
    if label is False or (isinstance(label, str) and label.lower() == "false"):
        raise RowDropped(rules.BAD_LABEL)


def _example(messages: list[Message], settings: Settings) -> Row:
    prompt, completion = rules.prompt_and_completion(messages, settings.turns, settings.tally)
    return {"prompt": prompt, "completion": completion}


def _alpaca(record: Record, settings: Settings) -> Row:
    _check_marks(record, settings)
    tally, turns = settings.tally, _system(record, settings.tally)
    for question, reply in _history(record):
        turns += [message("user", question, tally), message("assistant", reply, tally)]
    answer = _value(record, ("output", "response"))
    return _example(turns + _task(record["instruction"], record.get("input"), answer, tally), settings)


def _history(record: Record) -> list[tuple[Any, Any]]:
    """Earlier questions and answers of an Alpaca record, oldest first."""
    pairs = record.get("history") or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise RowDropped(rules.NOT_IN_FORMAT, "history that is not a list of pairs")
    return [(question, reply) for question, reply in pairs]


def _task(instruction: Any, extra: Any, answer: Any, tally: Tally) -> list[Message]:
    question = [message("user", text, tally)["content"] for text in (instruction, extra) if text]
    return [
        {"role": "user", "content": "\n\n".join(part for part in question if part)},
        message("assistant", answer, tally),
    ]


def _instances(record: Record) -> list[Record]:
    """One Alpaca record for each instance of a Self-Instruct task."""
    shared = {"instruction": record.get("instruction")}
    return [{**each, **shared} if isinstance(each, Mapping) else shared for each in record["instances"]]


def _conversation(record: Record, settings: Settings) -> Row:
    _check_marks(record, settings)
    turns = read_turns(_value(record, (*CONVERSATIONS, "messages")), settings.tally)
    return _example(_system(record, settings.tally) + turns, settings)


def _prompt_completion(record: Record, settings: Settings) -> Row:
    _check_marks(record, settings)
    turns = _as_turns(_value(record, PROMPTS), "user", settings.tally)
    turns += _as_turns(_value(record, ANSWERS), "assistant", settings.tally)
    return _example(_system(record, settings.tally) + turns, settings)


def _as_turns(value: Any, role: str, tally: Tally) -> list[Message]:
    """A text as one turn of a role; one turn or a list of turns as they are."""
    if isinstance(value, Mapping):
        return [read_turn(value, tally)]
    if isinstance(value, list) or (isinstance(value, str) and value.startswith('[{"')):
        return read_turns(value, tally)
    return [message(role, value, tally)]


def _preference(record: Record, settings: Settings) -> Row:
    name = _first(record, (*CONVERSATIONS, *PROMPTS, "instruction"))
    prompt = _system(record, settings.tally)
    if name == "instruction":
        prompt += _task(record["instruction"], record.get("input"), "", settings.tally)[:1]
    elif name:
        prompt += _as_turns(record[name], "user", settings.tally)
    chosen, rejected = (_as_turns(record[side], "assistant", settings.tally) for side in ("chosen", "rejected"))
    return _pair(prompt, chosen, rejected, settings.tally)


def _block_preference(record: Record, settings: Settings) -> Row:
    sides = (read_turns(record[f"{side}_messages"], settings.tally) for side in ("chosen", "rejected"))
    return _pair([], *sides, settings.tally)


def _pair(prompt: list[Message], chosen: list[Message], rejected: list[Message], tally: Tally) -> Row:
    """A preference row. Answers given as whole conversations share their beginning: that is the prompt."""
    if len(chosen) > 1 or len(rejected) > 1:
        shared = 0
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        if prompt and chosen[: len(prompt)] == prompt == rejected[: len(prompt)]:
            prompt = []
        prompt, chosen, rejected = prompt + chosen[:shared], chosen[shared:], rejected[shared:]
    prompt, chosen, rejected = (rules.merged(part, tally) for part in (prompt, chosen, rejected))
    if not prompt or any([each["role"] for each in side] != ["assistant"] for side in (chosen, rejected)):
        raise RowDropped(rules.OTHER_PROMPT)
    prompt = rules.opened_by_user(prompt, tally)
    if prompt[-1]["role"] == "assistant":
        raise RowDropped(rules.ANSWERED_PROMPT)
    if not (chosen[0]["content"] and rejected[0]["content"]):
        raise RowDropped(rules.EMPTY_ANSWER)
    if chosen == rejected:
        raise RowDropped(rules.SAME_ANSWERS)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


FORMATS: dict[str, Format] = {  # in the order in which they are tried
    each.name: each
    for each in (
        Format(
            "block-preference",
            "preference",
            "chosen_messages, rejected_messages",
            ("chosen_messages", "rejected_messages"),
            _has_list("chosen_messages", "rejected_messages"),
            _block_preference,
        ),
        Format(
            "sharegpt-preference",
            "preference",
            "conversations, chosen, rejected",
            (*CONVERSATIONS, "chosen", "rejected", "system"),
            lambda record: _first(record, CONVERSATIONS) is not None and _has("chosen", "rejected")(record),
            _preference,
        ),
        Format(
            "preference",
            "preference",
            "prompt, chosen, rejected",
            (*PROMPTS, "instruction", "chosen", "rejected", "system"),
            lambda record: (
                _has("chosen", "rejected")(record)
                and (_first(record, (*PROMPTS, "instruction")) is not None or _has_list("chosen", "rejected")(record))
            ),
            _preference,
        ),
        Format(
            "sharegpt",
            "sft",
            "conversations",
            (*CONVERSATIONS, "system", "label"),
            lambda record: _has_list(_first(record, CONVERSATIONS) or "")(record),
            _conversation,
        ),
        Format(
            "messages",
            "sft",
            "messages",
            ("messages", "system", "label"),
            _has_list("messages"),
            _conversation,
        ),
        Format(
            "self-instruct",
            "sft",
            "instruction, instances",
            ("instruction", "instances"),
            lambda record: isinstance(record.get("instances"), list),
            _alpaca,
            _instances,
        ),
        Format(
            "alpaca",
            "sft",
            "instruction, input, output",
            ("instruction", "input", "output", "response", "system", "history", "status", "label"),
            lambda record: "instruction" in record and ("output" in record or "response" in record),
            _alpaca,
        ),
        Format(
            "prompt-completion",
            "sft",
            "prompt, completion",
            (*PROMPTS, *ANSWERS, "system", "status", "label"),
            lambda record: _first(record, PROMPTS) is not None and _first(record, ANSWERS) is not None,
            _prompt_completion,
        ),
    )
}

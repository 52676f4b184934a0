"""Records without a pair: single answers marked good or bad, and prompts that wait for an answer."""

from medley.corpus import rules
from medley.corpus.format_examples import example
from medley.corpus.format_record import (
    ANSWERS,
    PROMPTS,
    Record,
    Row,
    Settings,
    as_turns,
    first_of,
    has_list,
    mark_of,
    system_turn,
    task_turn,
    value_of,
)
from medley.corpus.rules import Message, read_turns
from medley.corpus.tally import RowDropped, Tally

TASKS = ("instruction", *PROMPTS)
BESIDE_A_PROMPT = {"id", "system", "tools", "split"}  # columns that do not say what a prompt's answer should be


def is_unpaired(record: Record) -> bool:
    """Whether a record is one answer with a mark."""
    has_answer = first_of(record, TASKS) is not None and first_of(record, ANSWERS) is not None
    return mark_of(record.get("label")) is not None and (has_list("messages")(record) or has_answer)


def unpaired(record: Record, settings: Settings) -> Row:
    """KTO's rows: a conversation or a prompt and its answer, and whether the (last) answer is a good one."""
    tally, label = settings.tally, mark_of(record["label"])
    turns = system_turn(record, tally)
    if has_list("messages")(record):
        turns += read_turns(record["messages"], tally)
    else:
        turns += _question(record, tally) + as_turns(value_of(record, ANSWERS), "assistant", tally)
    if label is None:
        raise RowDropped(rules.NOT_IN_FORMAT, f"label {record['label']!r}")
    prompt, completion = rules.prompt_and_completion(turns, "last", tally)
    return {"prompt": prompt, "completion": completion, "label": label}


def is_prompt(record: Record) -> bool:
    """Whether a record is a prompt and nothing else."""
    name = first_of(record, ("prompt", "instruction"))
    return name is not None and not set(record) - {name} - BESIDE_A_PROMPT


def has_prompt(record: Record) -> bool:
    """Whether a prompt can be taken from a record, whatever else is in it."""
    return first_of(record, TASKS) is not None or has_list("messages")(record)


def prompt_only(record: Record, settings: Settings) -> Row:
    """A prompt that a model is to answer by itself. Of a conversation it is all before the last answer."""
    tally = settings.tally
    if first_of(record, TASKS) is None:
        return {"prompt": example(read_turns(record["messages"], tally), Settings(tally, "last"))["prompt"]}
    turns = system_turn(record, tally) + _question(record, tally)
    prompt = rules.opened_by_user(rules.merged(turns, tally), tally)
    if prompt[-1]["role"] == "assistant":
        raise RowDropped(rules.ANSWERED_PROMPT)
    return {"prompt": prompt}


def _question(record: Record, tally: Tally) -> list[Message]:
    if "instruction" in record:
        return [task_turn(record["instruction"], record.get("input"), tally)]
    return as_turns(value_of(record, PROMPTS), "user", tally)

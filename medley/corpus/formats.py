"""The formats Medley reads. One more is a converter in a `format_*` file and a line in FORMATS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medley.corpus import format_examples, format_pairs, format_trees, format_unpaired
from medley.corpus.format_record import (
    ANSWERS,
    CONVERSATIONS,
    PROMPTS,
    Record,
    Row,
    Settings,
    first_of,
    has,
    has_list,
)

KINDS = {  # how a dataset teaches: the name in reports, and in words
    "sft": "examples",
    "preference": "preferences",
    "unpaired": "answers marked good or bad",
    "prompts": "prompts without answers",
}


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes:
        kind: what it teaches by, a key of KINDS.
        columns: the columns that make it out, as shown to people.
        reads: every column it may use; others are named in the report as not used.
        fits: True for a record that looks like it; columns only, cheap.
        convert: the row of a record.
        parts: the records that one record holds, for formats that pack several into one.
        fits_named: as `fits`, when a person names the format; None takes `fits`.
    """

    name: str
    kind: str
    columns: str
    reads: tuple[str, ...]
    fits: Callable[[Record], bool]
    convert: Callable[[Record, Settings], Row]
    parts: Callable[[Record], Sequence[Record]] = lambda record: [record]
    fits_named: Callable[[Record], bool] | None = None


def _has_pair_and_prompt(record: Record) -> bool:
    has_prompt = first_of(record, (*PROMPTS, "instruction")) is not None
    return has("chosen", "rejected")(record) and (has_prompt or has_list("chosen", "rejected")(record))


def _is_ultrachat(record: Record) -> bool:
    data = record.get("data")
    return isinstance(data, list) and len(data) > 1 and all(isinstance(text, str) for text in data)


def _is_flan(record: Record) -> bool:
    names = ("inputs", "targets")
    return has(*(f"{name}_pretokenized" for name in names))(record) or has(*names)(record)


PAIR_FORMATS = (
    Format(
        "oasst-preference", "preference", "a message tree, for its ranked replies",
        ("message_tree_id", "tree_state", "prompt"),
        lambda record: False,  # the trees are read as examples, unless somebody asks for pairs
        format_trees.ranked_pair, format_trees.ranked_pairs, fits_named=format_trees.is_tree,
    ),
    Format(
        "block-preference", "preference", "chosen_messages, rejected_messages",
        ("chosen_messages", "rejected_messages"),
        has_list("chosen_messages", "rejected_messages"), format_pairs.block_preference,
    ),
    Format(
        "sharegpt-preference", "preference", "conversations, chosen, rejected",
        (*CONVERSATIONS, "chosen", "rejected", "system", "tools"),
        lambda record: first_of(record, CONVERSATIONS) is not None and has("chosen", "rejected")(record),
        format_pairs.preference,
    ),
    Format(
        "preference", "preference", "prompt, chosen, rejected",
        (*PROMPTS, "instruction", "chosen", "rejected", "system", "tools"),
        _has_pair_and_prompt, format_pairs.preference,
    ),
    Format(
        "transcripts", "preference", "chosen and rejected, dialogues of Human: and Assistant:",
        ("chosen", "rejected"),
        lambda record: all(format_pairs.is_transcript(record.get(side)) for side in ("chosen", "rejected")),
        format_pairs.transcripts,
    ),
    Format(
        "summaries", "preference", "info, summaries, choice",
        ("info", "summaries", "choice"),
        has("info", "summaries", "choice"), format_pairs.summaries,
    ),
    Format(
        "shp", "preference", "history, human_ref_A, human_ref_B, labels",
        ("history", "human_ref_A", "human_ref_B", "labels"),
        has("history", "human_ref_A", "human_ref_B", "labels"), format_pairs.reddit_answers,
    ),
    Format(
        "helpsteer", "preference", "prompt, response_1, response_2, preference_strength",
        ("prompt", "response_1", "response_2", "preference_strength"),
        has("prompt", "response_1", "response_2", "preference_strength"), format_pairs.rated_pair,
    ),
)  # fmt: skip
EXAMPLE_FORMATS = (
    Format(
        "oasst", "sft", "a message tree",
        ("message_tree_id", "tree_state", "prompt"),
        format_trees.is_tree, format_trees.thread, format_trees.threads,
    ),
    Format(
        "sharegpt", "sft", "conversations",
        (*CONVERSATIONS, "system", "label", "tools"),
        lambda record: has_list(first_of(record, CONVERSATIONS) or "")(record), format_examples.conversation,
    ),
    Format(
        "messages", "sft", "messages",
        ("messages", "system", "label", "tools"),
        has_list("messages"), format_examples.conversation,
    ),
    Format("ultrachat", "sft", "data, a list of texts", ("data",), _is_ultrachat, format_examples.ultrachat),
    Format(
        "self-instruct", "sft", "instruction, instances",
        ("instruction", "instances"),
        lambda record: isinstance(record.get("instances"), list), format_examples.alpaca, format_examples.instances,
    ),
    Format(
        "alpaca", "sft", "instruction, input, output",
        ("instruction", "input", "output", "response", "system", "history", "status", "label", "tools"),
        lambda record: "instruction" in record and ("output" in record or "response" in record),
        format_examples.alpaca,
    ),
    Format(
        "flan", "sft", "inputs, targets",
        ("inputs", "targets", "inputs_pretokenized", "targets_pretokenized", "label"),
        _is_flan, format_examples.flan,
    ),
    Format(
        "flan-table", "sft", "two or three columns without a header (.tsv)",
        ("column 1", "column 2"),
        has("column 1", "column 2"), format_examples.flan_table,
    ),
    Format(
        "prompt-completion", "sft", "prompt, completion",
        (*PROMPTS, *ANSWERS, "system", "status", "label", "tools"),
        lambda record: first_of(record, PROMPTS) is not None and first_of(record, ANSWERS) is not None,
        format_examples.prompt_completion,
    ),
)  # fmt: skip
OTHER_FORMATS = (
    Format(
        "unpaired", "unpaired", "prompt, completion, label (true or false, 1 or 0)",
        ("messages", *PROMPTS, *ANSWERS, "label", "system", "tools"),
        format_unpaired.is_unpaired, format_unpaired.unpaired,
    ),
    Format(
        "prompts", "prompts", "prompt alone",
        (*format_unpaired.TASKS, "input", "messages", "system", "tools"),
        format_unpaired.is_prompt, format_unpaired.prompt_only, fits_named=format_unpaired.has_prompt,
    ),
)  # fmt: skip
FORMATS: dict[str, Format] = {  # in the order in which they are tried: the first of those that fit equally many rows
    each.name: each for each in (*PAIR_FORMATS, *OTHER_FORMATS[:1], *EXAMPLE_FORMATS, *OTHER_FORMATS[1:])
}

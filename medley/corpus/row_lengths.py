"""How many tokens rows will have: guessed from their text, or counted where a tokenizer is at hand. No torch.

A guess is enough to plan a training; it errs on the long side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medley.lm.prompts import encode_text, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWERS = ("completion", "chosen", "rejected")
BYTES_PER_TOKEN = 3.5  # English has about 4.3 in SmolLM2's vocabulary, code and other languages less
TURN_TOKENS = 5  # what a chat template writes around a turn
SYSTEM_TOKENS = 25  # and before the first one

Row = Mapping[str, Any]


def guessed_lengths(rows: Sequence[Row]) -> list[int]:
    """For each row the tokens of its prompt with its answer, the longer one where it has two."""
    return [max(_guess(messages) for messages in _conversations(row)) for row in rows]


def prompts_alone(rows: Sequence[Row]) -> list[Row]:
    """The rows without their answers, for trainers whose model writes answers of its own."""
    return [{"prompt": row["prompt"]} for row in rows]


def counted_lengths(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, *, longest: int = 64) -> list[int]:
    """As `guessed_lengths`, but counted for the rows that look longest: they decide how much memory is needed.

    Args:
        longest: rows that are really tokenised.

    Raises:
        BaseModelError, IncompatibleError: the chat template is missing, or refuses a row.
    """
    lengths = guessed_lengths(rows)
    for number in sorted(range(len(rows)), key=lengths.__getitem__, reverse=True)[:longest]:
        lengths[number] = max(_count(messages, tokenizer) for messages in _conversations(rows[number]))
    return lengths


def _conversations(row: Row) -> list[list[Mapping[str, str]]]:
    found = [[*row["prompt"], *row[answer]] for answer in ANSWERS if answer in row]
    return found or [list(row["prompt"])]


def _guess(messages: Sequence[Mapping[str, str]]) -> int:
    text_bytes = sum(len(message["content"].encode()) for message in messages)
    return round(text_bytes / BYTES_PER_TOKEN) + TURN_TOKENS * len(messages) + SYSTEM_TOKENS


def _count(messages: Sequence[Mapping[str, str]], tokenizer: PreTrainedTokenizerBase) -> int:
    is_open = messages[-1]["role"] != "assistant"
    return len(encode_text(tokenizer, render(tokenizer, messages, add_generation_prompt=is_open)))

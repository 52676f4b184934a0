"""Preference rows as the whole tokens of two answers: the very tokens that the preview shows and that scoring uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medley.corpus.tokens import encode_rows
from trainers.preference_report import ScoredPair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TokenPair:
    """One preference row.

    Attributes:
        chosen_ids, rejected_ids: prompt and answer, up to the token that ends the answer.
        chosen_length, rejected_length: of the answers alone, in characters.
    """

    chosen_ids: list[int]
    rejected_ids: list[int]
    chosen_length: int
    rejected_length: int

    @property
    def longest(self) -> int:
        """Tokens of the longer side."""
        return max(len(self.chosen_ids), len(self.rejected_ids))

    def scored(self, chosen_score: float, rejected_score: float) -> ScoredPair:
        return ScoredPair(chosen_score, rejected_score, self.chosen_length, self.rejected_length)


def token_pairs(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[TokenPair]:
    """The pair of each row, whole, in order.

    Raises:
        DatasetError, IncompatibleError: as `medley.corpus.tokens.encode`.
    """
    sides = [encode_rows(rows, tokenizer, max_length=None, answer=answer) for answer in ("chosen", "rejected")]
    return [
        TokenPair(chosen.input_ids, rejected.input_ids, answer_length(row["chosen"]), answer_length(row["rejected"]))
        for row, chosen, rejected in zip(rows, *sides, strict=True)
    ]


def fitting(pairs: Sequence[TokenPair], max_length: int) -> list[TokenPair]:
    """The pairs of which both sides have at most `max_length` tokens, in order.

    A pair is taken whole or not at all: the end of an answer decides, and cutting one side would decide for the other.
    """
    return [pair for pair in pairs if pair.longest <= max_length]


def answer_length(messages: Sequence[Mapping[str, str]]) -> int:
    """Characters of the assistant's turns."""
    return sum(len(message["content"]) for message in messages if message["role"] == "assistant")

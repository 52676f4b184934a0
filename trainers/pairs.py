"""Preference rows as the tokens of a prompt and its two answers: the very tokens that the preview shows.

A pair is trained on whole or not at all: where truncation leaves nothing of one answer, the pair is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medley.corpus.tokens import Encoded, encode
from medley.errors import DatasetError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class EncodedPair:
    """One preference row as tokens.

    Attributes:
        prompt_ids: what the model is asked, up to where its turn opens.
        chosen_ids, rejected_ids: the two answers, each up to the token that ends it.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


@dataclass(frozen=True)
class PairReport:
    """What was counted on the way, in rows.

    Attributes:
        pairs: rows that are trained on.
        left_out: rows without a token of one of their answers within `max_length`.
        cut: rows of which at least one answer lost its end, and that are trained on all the same.
        max_length: tokens kept of a prompt with its answer.
    """

    pairs: int
    left_out: int
    cut: int
    max_length: int

    def warnings(self) -> list[str]:
        """What a person should know before training, one plain sentence each."""
        found = [
            (self.left_out, f"left out, because an answer begins after {self.max_length} tokens"),
            (self.cut, f"cut off at {self.max_length} tokens, so that an answer does not end"),
        ]
        return [f"{count:,} {'pair' if count == 1 else 'pairs'} {what}." for count, what in found if count]


def encode_pairs(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> tuple[list[EncodedPair], PairReport]:
    """All pairs that have both answers within `max_length`, in order, and the counts.

    Raises:
        DatasetError: no pair is left, or the chat template does not let prompt and answer be told apart.
        IncompatibleError: the chat template refuses the roles of a row.
    """
    pairs, cut, shortest = [], 0, None
    for row in rows:
        sides = [encode(row, tokenizer, max_length=max_length, answer=answer) for answer in ("chosen", "rejected")]
        longest = max(side.full_length for side in sides)
        shortest = longest if shortest is None else min(shortest, longest)
        if all(any(side.trained) for side in sides):
            pairs.append(_pair(*sides))
            cut += any(side.is_truncated for side in sides)
    if not pairs:
        raise DatasetError(
            f"Nothing is left to train on: in all {len(rows)} pairs an answer begins after the first {max_length} "
            f"tokens. Raise max_length; the shortest pair has {shortest} tokens."
            if rows
            else "There are no pairs to train on."
        )
    return pairs, PairReport(len(pairs), len(rows) - len(pairs), cut, max_length)


def _pair(chosen: Encoded, rejected: Encoded) -> EncodedPair:
    """The prompt is what both sides only read; it has the same tokens on both."""
    start = chosen.trained.index(True)
    assert chosen.input_ids[:start] == rejected.input_ids[:start], "both answers follow one prompt"
    return EncodedPair(chosen.input_ids[:start], chosen.input_ids[start:], rejected.input_ids[start:])

"""Figures of a dataset that need no tokenizer: turns, lengths in characters, repeated prompts and answers.

Lengths in tokens depend on the base: `medley.corpus.tokens.encode_all` reports those.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medley.corpus.folder import SPLITS, read_rows
from medley.corpus.overlap import row_pieces
from medley.corpus.split import prompt_key
from medley.corpus.token_report import PERCENTILES, histogram, percentile


@dataclass(frozen=True)
class SplitStatistics:
    """Figures of one split.

    Attributes:
        rows, prompts: rows, and different prompts among them.
        repeated_prompts: rows whose prompt occurs in more than one row.
        repeated_answers: rows whose answer occurs in more than one row.
        turns: messages over all rows, system turns not counted.
        answers: answers in a conversation -> rows.
        prompt_percentiles, answer_percentiles: percentile (0 to 100) -> characters.
        answer_histogram: (from, below, rows) bins of equal width, in characters.
    """

    rows: int
    prompts: int
    repeated_prompts: int
    repeated_answers: int
    turns: int
    answers: Mapping[int, int]
    prompt_percentiles: Mapping[int, int]
    answer_percentiles: Mapping[int, int]
    answer_histogram: tuple[tuple[int, int, int], ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def dataset_statistics(folder: Path) -> dict[str, SplitStatistics]:
    """The figures of each split of a dataset folder."""
    return {split: split_statistics(read_rows(folder, split)) for split in SPLITS}


def split_statistics(rows: Sequence[Mapping[str, Any]]) -> SplitStatistics:
    """The figures of these rows; of a preference row the chosen answer counts, and a bare prompt has none."""
    answers = [row.get("completion") or row.get("chosen") or [] for row in rows]
    prompt_counts = Counter(prompt_key(row["prompt"]) for row in rows)
    answer_counts = Counter(prompt_key(answer) for answer in answers if answer)
    prompt_lengths = sorted(_characters(row["prompt"]) for row in rows)
    answer_lengths = sorted(map(_characters, answers))
    answers_in_row = Counter(sum(each["role"] == "assistant" for each in answer) for answer in answers)
    return SplitStatistics(
        rows=len(rows),
        prompts=len(prompt_counts),
        repeated_prompts=sum(count for count in prompt_counts.values() if count > 1),
        repeated_answers=sum(count for count in answer_counts.values() if count > 1),
        turns=sum(len(row_pieces(row)) for row in rows),
        answers=dict(sorted(answers_in_row.items())),
        prompt_percentiles=_percentiles(prompt_lengths),
        answer_percentiles=_percentiles(answer_lengths),
        answer_histogram=histogram(answer_lengths),
    )


def _characters(messages: Sequence[Mapping[str, str]]) -> int:
    return sum(len(each["content"]) for each in messages)


def _percentiles(sorted_values: Sequence[int]) -> dict[int, int]:
    return {percent: percentile(sorted_values, percent) for percent in PERCENTILES} if sorted_values else {}

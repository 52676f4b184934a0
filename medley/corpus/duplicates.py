"""What repeats within a dataset, and what of its eval split could be known from training; counted at import.

Exact copies are dropped by the importer and one question is never on both sides of the split. What is found here is
only told: texts made from one template are near to each other by nature, and only a person can say what to do.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from medley.corpus.folder import SPLITS
from medley.corpus.near_duplicates import near_pairs
from medley.corpus.overlap import Overlap, find_overlap, row_pieces
from medley.corpus.tally import EXAMPLE_CHARACTERS, one_line

MAX_COMPARED = 10_000  # rows of a dataset; of a larger one they are taken evenly
MAX_EXAMPLES = 3
Row = Mapping[str, Any]
Placed = tuple[str, int, Row]  # split, number of the row from 1, row


@dataclass(frozen=True)
class Duplicates:
    """Counts in rows.

    Attributes:
        rows, compared: of the dataset, and those of them that were compared.
        near: compared rows that nearly repeat an earlier one; of pairs and marked answers each answer does, too.
        near_examples: up to three {"rows": ["train 3", "train 9"], "similarity", "texts"}.
        eval_rows: compared rows of the eval split.
        eval_near_train: those of them whose prompt is nearly one of the train split.
        eval_near_examples: as `near_examples`, of prompts.
        eval_overlap: runs of 13 words that eval rows share with train rows; see `medley.corpus.overlap`.
    """

    rows: int
    compared: int
    near: int
    near_examples: tuple[Mapping[str, Any], ...]
    eval_rows: int
    eval_near_train: int
    eval_near_examples: tuple[Mapping[str, Any], ...]
    eval_overlap: Overlap

    def to_json(self) -> dict[str, Any]:
        examples = {name: list(getattr(self, name)) for name in ("near_examples", "eval_near_examples")}
        return {**asdict(self), **examples, "eval_overlap": self.eval_overlap.to_json()}


def find_duplicates(folder: Path, counts: Mapping[str, int]) -> Duplicates:
    """The repetitions of a dataset folder.

    Args:
        counts: split -> its rows.
    """
    total = sum(counts.values())
    placed = [each for split in SPLITS for each in _read_evenly(folder, split, -(-total // MAX_COMPARED) or 1)]
    pairs = near_pairs([_text(row) for _, _, row in placed], _answers_apart([row for _, _, row in placed]))
    prompts = [_text({"prompt": row["prompt"]}) for _, _, row in placed]
    across = [
        pair
        for pair in near_pairs(prompts)
        if (placed[pair.first][0], placed[pair.second][0]) == ("train", "eval")
    ]  # fmt: skip
    train, held_out = ([row_pieces(row) for split, _, row in placed if split == wanted] for wanted in SPLITS)
    return Duplicates(
        rows=total,
        compared=len(placed),
        near=len(pairs),
        near_examples=tuple(_example(pair, placed, None) for pair in pairs[:MAX_EXAMPLES]),
        eval_rows=len(held_out),
        eval_near_train=len(across),
        eval_near_examples=tuple(_example(pair, placed, prompts) for pair in across[:MAX_EXAMPLES]),
        eval_overlap=find_overlap(train, held_out),
    )


def _read_evenly(folder: Path, split: str, step: int) -> Iterator[Placed]:
    with (folder / f"{split}.jsonl").open(encoding="utf-8") as file:
        for number, line in islice(enumerate(file, start=1), 0, None, step):
            yield split, number, json.loads(line)


def _text(row: Row) -> str:
    return "\n".join(row_pieces(row))


def _answers_apart(rows: Sequence[Row]) -> list[list[str]] | None:
    """Each answer of rows that are meant to share a prompt, as pairs and marked answers do; None for other rows."""
    if not any(part in row for row in rows[:1] for part in ("rejected", "label")):
        return None
    return [[_text({part: row[part]}) for part in row if part not in ("prompt", "label")] for row in rows]


def _example(pair: Any, placed: Sequence[Placed], texts: Sequence[str] | None) -> dict[str, Any]:
    both = [placed[pair.first], placed[pair.second]]
    shown = [texts[pair.first], texts[pair.second]] if texts else [_text(row) for _, _, row in both]
    return {
        "rows": [f"{split} {number}" for split, number, _ in both],
        "similarity": round(pair.similarity, 3),
        "texts": [one_line(text, EXAMPLE_CHARACTERS) for text in shown],
    }

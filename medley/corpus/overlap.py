"""Texts that stand in two places: runs of 13 words that a dataset and a list of test items have in common.

Words are compared without case and punctuation, as in 2005.14165, appendix C. A text of 8 to 12 words is one run of
that length; a shorter one is not compared, for short texts agree by chance. A run that more than ten items share is
their template and proves nothing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medley.corpus.tally import EXAMPLE_CHARACTERS, one_line

RUN_WORDS = 13
FEWEST_WORDS = 8
MAX_SHARED = 10  # items that may have a run before it counts as their template
MAX_EXAMPLES = 3
WORD = re.compile(r"\w+(?:['’]\w+)*")
Pieces = Sequence[str]  # the texts of a row or an item; a run does not go from one into the next


@dataclass(frozen=True)
class Overlap:
    """What rows and items have in common.

    Attributes:
        items: items looked for.
        compared: those of them that have a text of at least 8 words.
        found: items of which a run stands in a row.
        rows: rows in which a run of an item stands.
        examples: up to three {"item", "row", "text"}, numbers from 1; the text is a common run.
    """

    items: int
    compared: int
    found: int
    rows: int
    examples: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "examples": [dict(each) for each in self.examples]}


def find_overlap(rows: Iterable[Pieces], items: Sequence[Pieces]) -> Overlap:
    """The runs of the items that stand in the rows; the rows are read once and not kept."""
    runs_by_item = [{run for piece in item for run in item_runs(piece)} for item in items]
    shared = Counter(run for runs in runs_by_item for run in runs)
    wanted: dict[str, list[int]] = {}
    for number, runs in enumerate(runs_by_item):
        for run in runs:
            if shared[run] <= MAX_SHARED:
                wanted.setdefault(run, []).append(number)
    lengths = sorted({run.count(" ") + 1 for run in wanted})
    found: set[int] = set()
    touched, examples = 0, []
    for number, row in enumerate(rows, start=1):
        hits = {run: wanted[run] for piece in row for run in _runs(words_of(piece), lengths) if run in wanted}
        touched += bool(hits)
        for run, numbers in hits.items():
            for item in sorted(set(numbers) - found):
                examples.append({"item": item + 1, "row": number, "text": one_line(run, EXAMPLE_CHARACTERS)})
            found.update(numbers)
    return Overlap(len(items), sum(map(bool, runs_by_item)), len(found), touched, tuple(examples[:MAX_EXAMPLES]))


def words_of(text: str) -> list[str]:
    """The words of a text without case and punctuation."""
    return WORD.findall(text.casefold())


def item_runs(text: str) -> set[str]:
    """The runs that give a text away: all of 13 words, or the whole of a text of 8 to 12."""
    words = words_of(text)
    if len(words) < FEWEST_WORDS:
        return set()
    return set(_runs(words, [min(RUN_WORDS, len(words))]))


def _runs(words: Sequence[str], lengths: Iterable[int]) -> Iterator[str]:
    for length in lengths:
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def row_pieces(row: Mapping[str, Any]) -> list[str]:
    """The texts of a dataset's row, without its system turn, which many rows share."""
    parts = [part for part in row.values() if isinstance(part, list)]
    return [message["content"] for part in parts for message in part if message["role"] != "system"]


def record_pieces(value: Any) -> list[str]:
    """Every text of a record of any form: a question, its choices, its answer."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in record_pieces(part)]
    if isinstance(value, Sequence):
        return [text for part in value for text in record_pieces(part)]
    return []

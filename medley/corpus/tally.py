"""Counting while rows go by: what was fixed, what was dropped, and a few examples of each."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

MAX_EXAMPLES = 3
EXAMPLE_CHARACTERS = 160
NAME_CHARACTERS = 40  # shown of a column or role that nobody knows
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: no UTF-8 file can hold it


def one_line(text: str, most: int) -> str:
    """A text from a file, fit to stand in a message: no line breaks, at most so many characters."""
    flat = " ".join(SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text).split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


class RowDropped(Exception):
    """This row cannot be used. Caught by the importer, which counts it under `why`.

    Args:
        why: one of the phrases in `medley.corpus.rules`; the same for all rows with this fault.
        detail: what is special about this row, for the examples.
    """

    def __init__(self, why: str, detail: str = "") -> None:
        super().__init__(why)
        self.why, self.detail = why, detail


@dataclass
class Tally:
    """Counts by what was done, in rows (not in turns), with up to three examples each.

    Attributes:
        found: rows seen so far; the number of the current one, from 1.
        fixed: what was put right -> rows; only rows that were kept count.
        dropped: why -> rows left out.
        values: why -> the words that were found instead -> how often.
        noticed: what kept rows contain -> rows; nothing was done about it.
    """

    found: int = 0
    fixed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    noticed: Counter[str] = field(default_factory=Counter)
    values: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _fixed_here: dict[str, str] = field(default_factory=dict)

    def start_row(self) -> None:
        self.found += 1
        self._fixed_here.clear()

    def fix(self, what: str, text: str) -> None:
        """Note that the current row was changed; counted once, however often it happened in it."""
        self._fixed_here.setdefault(what, text)

    def keep(self) -> None:
        """The current row is used: what was fixed in it counts."""
        for what, text in self._fixed_here.items():
            self.fixed[what] += 1
            self._keep_example(what, text)

    def drop(self, why: str, shown: Any) -> None:
        """The current row is left out; `shown` is a text for the examples, or the record itself."""
        self.dropped[why] += 1
        self._keep_example(why, shown)

    def _keep_example(self, what: str, shown: Any) -> None:
        kept = self.examples.setdefault(what, [])
        if len(kept) < MAX_EXAMPLES:
            text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, default=str)
            kept.append({"row": self.found, "text": one_line(text, EXAMPLE_CHARACTERS)})

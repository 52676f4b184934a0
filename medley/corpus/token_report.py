"""What tokenising a dataset found: lengths, cut rows, rows with nothing to train, answers that never end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from medley.corpus.tokens import Encoded

PERCENTILES = (0, 50, 90, 95, 99, 100)
HISTOGRAM_BINS = 20


@dataclass(frozen=True)
class TokenReport:
    """Counts over a split, in rows unless the name says tokens.

    Attributes:
        rows: rows that are trained on.
        all_masked: rows dropped because truncation left nothing of their answer.
        truncated: rows whose end was cut off (some of these are also in `all_masked`).
        missing_eos: rows that were not cut and still do not end with an end-of-turn token.
        special_in_text: rows whose own text contains a special token of the base, such as <|im_end|>.
        tokens, trained_tokens: over the rows that are trained on, after truncation.
        length_percentiles: percentile (0 to 100) -> tokens of a row before truncation.
        length_histogram: (from, below, rows) bins of equal width, before truncation.
        max_length: tokens kept of a row, or None.
    """

    rows: int
    all_masked: int
    truncated: int
    missing_eos: int
    special_in_text: int
    tokens: int
    trained_tokens: int
    length_percentiles: Mapping[int, int]
    length_histogram: tuple[tuple[int, int, int], ...]
    max_length: int | None

    def warnings(self) -> list[str]:
        """What a person should know before training, one plain sentence each."""
        cut = self.truncated - self.all_masked
        found = [
            (self.all_masked, f"left out, because the answer begins after {self.max_length} tokens"),
            (cut, f"cut off at {self.max_length} tokens, so that the answer does not end"),
            (self.missing_eos, "without an end-of-turn token at the end: the model may not stop"),
            (self.special_in_text, "with special tokens of the base as plain text"),
        ]
        return [f"{count:,} {'row' if count == 1 else 'rows'} {what}." for count, what in found if count]

    @property
    def truncated_share(self) -> float:
        """The share of all rows that was cut, in [0, 1]."""
        return self.truncated / max(1, self.rows + self.all_masked)

    @property
    def eos_share(self) -> float:
        """The share of all rows that end with an end-of-turn token after truncation, in [0, 1]."""
        every = self.rows + self.all_masked
        return (every - self.missing_eos - self.truncated) / max(1, every)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def report_tokens(
    rows: Sequence[Mapping[str, Any]],
    encoded: Sequence[Encoded],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
) -> TokenReport:
    """The counts over all rows of a split, those with nothing to train included."""
    has_answer = [len(row) > 1 for row in rows]
    kept = [each for each, answered in zip(encoded, has_answer, strict=True) if any(each.trained) or not answered]
    lengths = sorted(each.full_length for each in encoded)
    special = [token for token in tokenizer.get_added_vocab() if token.strip()]
    return TokenReport(
        rows=len(kept),
        all_masked=len(encoded) - len(kept),
        truncated=sum(each.is_truncated for each in encoded),
        missing_eos=sum(
            answered and not each.ends_with_eos and not each.is_truncated
            for each, answered in zip(encoded, has_answer, strict=True)
        ),
        special_in_text=sum(any(token in text for text in _texts(row) for token in special) for row in rows),
        tokens=sum(len(each.input_ids) for each in kept),
        trained_tokens=sum(sum(each.trained) for each in kept),
        length_percentiles={percent: percentile(lengths, percent) for percent in PERCENTILES} if lengths else {},
        length_histogram=histogram(lengths),
        max_length=max_length,
    )


def _texts(row: Mapping[str, Any]) -> list[str]:
    return [message["content"] for part in row.values() if isinstance(part, list) for message in part]


def percentile(sorted_values: Sequence[int], percent: float) -> int:
    """The nearest-rank percentile: the smallest value that at least `percent` of the values do not exceed."""
    rank = -(-len(sorted_values) * percent // 100)  # rounded up
    return sorted_values[max(0, int(rank) - 1)]


def histogram(sorted_values: Sequence[int], bins: int = HISTOGRAM_BINS) -> tuple[tuple[int, int, int], ...]:
    """(from, below, count) for at most `bins` bins of one width that hold every value; () when there are none."""
    if not sorted_values:
        return ()
    low, high = sorted_values[0], sorted_values[-1]
    width = -(-(high - low + 1) // bins)
    counts = [0] * (-(-(high - low + 1) // width))
    for value in sorted_values:
        counts[(value - low) // width] += 1
    return tuple((low + number * width, low + (number + 1) * width, count) for number, count in enumerate(counts))

"""The eval rows that are measured while a trainer on TRL learns: the first ones, if any has room for answers."""

from collections.abc import Sequence
from typing import Any

from medley.corpus.tokens import answers_of, encode, is_bare
from medley.lm.load import LoadedBase
from trainers.work import TrainWork

Row = dict[str, Any]


def rows_to_measure(rows: Sequence[Row], base: LoadedBase, options: Any, work: TrainWork) -> list[Row]:
    """The first `max_eval_rows`; none, and a warning, where each of them has an answer that begins after `max_length`.

    Training goes on without them: what is only measured need not stop what is learned.
    """
    rows = list(rows[: options.max_eval_rows])
    if rows and not any(_fits(row, base.tokenizer, options.max_length) for row in rows):
        text = (
            f"eval split: in all {len(rows):,} rows an answer begins after the first {options.max_length:,} tokens, so "
            "nothing is measured while it trains. Raise max_length."
        )
        work.emit("warning", text=text)
        return []
    return rows


def _fits(row: Row, tokenizer: Any, max_length: int) -> bool:
    return is_bare(row) or all(
        any(encode(row, tokenizer, max_length=max_length, answer=part).trained) for part in answers_of(row)
    )

"""Answers token by token: one pane while it answers, and the loop over the rows of a batch."""

import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Any

from medley.lm.next_token import Sampler
from medley.lm.panes import Blend, PaneUpdate
from medley.lm.sampling import Sampling
from medley.lm.text_stream import TextStream


@dataclass
class Row:
    """The running state of one answer.

    Attributes:
        pane: index of the pane that it answers.
        blend: the keys and weights that answer, without zeros.
        limit: tokens that it may write.
        text: turns its tokens into text.
        new_tokens: tokens so far.
    """

    pane: int
    blend: Blend
    limit: int
    text: TextStream
    new_tokens: int = 0

    def take(self, token: int, *, started: float, end_ids: Set[int], is_stopped: bool) -> PaneUpdate:
        """Take one token into the answer, or end it.

        Args:
            started: `time.perf_counter()` when the prompt began to be read.
            end_ids: the tokens that end a turn.
            is_stopped: True leaves the token out and ends the answer here.
        """
        reason, text = "", ""
        if is_stopped:
            reason = "stopped"
        else:
            self.new_tokens += 1
            if token in end_ids:
                reason = "stop"
            else:
                text = self.text.push(token)
                reason = "length" if self.new_tokens == self.limit else ""
        speed = self.new_tokens / (time.perf_counter() - started)
        return PaneUpdate(self.pane, text, bool(reason), reason, self.new_tokens, speed, self.blend)


def keep_all(rows: list[int]) -> None:
    """A `select_rows` for a batch whose rows have no weights."""


def answer_rows(
    rows: list[Row],
    batch: Any,
    sampling: Sampling,
    *,
    end_ids: Set[int],
    is_stopped: Callable[[int], bool],
    select_rows: Callable[[list[int]], None] = keep_all,
) -> Iterator[PaneUpdate]:
    """The updates of all rows, a token of each at a time, until the last of them ends.

    Args:
        rows: the panes, in the batch's order.
        batch: a `batch.Batch`, or an `alone.AloneBatch` for a single row.
        end_ids: the tokens that end a turn.
        is_stopped: asked with a pane's index before each of its tokens.
        select_rows: told which rows go on when others have ended.
    """
    started = time.perf_counter()
    logits = batch.read_prompts()
    sampler = Sampler(sampling, batch.seen_tokens(logits.shape[-1]))
    while rows:
        tokens = sampler.next_tokens(logits)
        going = []
        for index, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
            update = row.take(token, started=started, end_ids=end_ids, is_stopped=is_stopped(row.pane))
            if not update.is_done:
                going.append(index)
            yield update
        if going and len(going) < len(rows):
            batch.keep(going)
            sampler.keep(going)
            select_rows(going)
        rows = [rows[index] for index in going]
        if rows:
            logits = batch.step(tokens[going])

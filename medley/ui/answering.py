"""A question being answered: the engine runs in one thread of its own, the page reads what has come so far.

A generator of Gradio may be continued in any thread, and is dropped when the tab closes; the engine wants one thread
and an orderly end. Between the two stands a queue. Here no HTML and no names.
"""

import queue
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medley.lm.panes import Blend, PaneUpdate

PAUSE_S = 0.08  # between two looks at the queue: about as often as a person sees a change
Stream = Callable[[Callable[[int], bool]], "Iterator[PaneUpdate]"]


@dataclass
class Answer:
    """What one pane has said so far.

    Attributes:
        text: the answer, as far as it has come.
        is_done: True at its end; `finish_reason` then says which: stop, length or stopped.
        new_tokens, tokens_per_s: as the engine counts them.
        blend: adapter key -> weight, as the engine reports them.
    """

    text: str = ""
    is_done: bool = False
    finish_reason: str = ""
    new_tokens: int = 0
    tokens_per_s: float = 0.0
    blend: "Blend" = field(default_factory=dict)


class Answering:
    """One question to several panes, under way. `STREAMS` finds it by its id, for the stop buttons."""

    def __init__(self, stream: Stream, panes: int) -> None:
        self.id = secrets.token_urlsafe(9)
        self.answers = [Answer() for _ in range(panes)]
        self._stopped: set[int] = set()
        self._updates: queue.Queue[PaneUpdate | BaseException | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, args=(stream,), name="answering", daemon=True)
        STREAMS[self.id] = self

    def stop(self, panes: Sequence[int] | None = None) -> None:
        """End some panes at their next token, or all."""
        self._stopped.update(range(len(self.answers)) if panes is None else panes)

    def follow(self) -> Iterator[list[Answer]]:
        """The answers, again and again until all are whole. Leaving the loop early stops the engine.

        Raises:
            UserError: what the engine had to say against it.
        """
        self._thread.start()
        try:
            while self._take():
                yield self.answers
                time.sleep(PAUSE_S)
            yield self.answers
        finally:
            self.stop()

    def _run(self, stream: Stream) -> None:
        try:
            for update in stream(self._stopped.__contains__):
                self._updates.put(update)
            self._updates.put(None)
        except BaseException as error:  # handed to the page, which tells it
            self._updates.put(error)

    def _take(self) -> bool:
        """Take in what is there, waiting for at least one update; False at the end."""
        waiting = [self._updates.get()]
        while not self._updates.empty():
            waiting.append(self._updates.get())
        for update in waiting:
            if update is None:
                return False
            if isinstance(update, BaseException):
                raise update
            answer = self.answers[update.pane]
            answer.text += update.text
            answer.is_done, answer.finish_reason = update.is_done, update.finish_reason
            answer.new_tokens, answer.tokens_per_s = update.new_tokens, update.tokens_per_s
            answer.blend = dict(update.blend)
        return True


STREAMS: "weakref.WeakValueDictionary[str, Answering]" = weakref.WeakValueDictionary()

"""An end to waiting: work with a server that may never answer, done within a time or given up.

The Hub's client has no limit for an upload that stalls, so the work runs in a thread of its own. A thread that is left
behind changes nothing any more: it asks before every step whether there is still time, and ends there.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from medley.errors import HubError

ResultT = TypeVar("ResultT")

THREAD_NAME = "hub-client"
MIN_TIMEOUT_S = 180.0
SLOWEST_BYTES_PER_S = 100_000  # what a slow line still manages; decides how long a big transfer may take


class DeadlineError(Exception):
    """The time for the whole action is over; ends the thread that still works on it."""


class Deadline:
    """The moment until which an action must be done."""

    def __init__(self, timeout_s: float) -> None:
        self._end = time.monotonic() + timeout_s
        self._is_given_up = threading.Event()

    def give_up(self) -> None:
        self._is_given_up.set()

    def check(self) -> None:
        """Nothing while there is time; called before every step that changes something."""
        if self._is_given_up.is_set() or time.monotonic() >= self._end:
            raise DeadlineError

    def has(self, seconds: float) -> bool:
        """Whether so much time is left."""
        return time.monotonic() + seconds < self._end

    def pause(self, seconds: float) -> None:
        """Wait; the thread is woken when the action is given up."""
        self._is_given_up.wait(seconds)
        self.check()


def run_within(timeout_s: float, work: Callable[[Deadline], ResultT], too_late: str) -> ResultT:
    """What `work` gives, or a HubError with the sentence `too_late` once the time is over.

    Args:
        timeout_s: in seconds.
        work: gets the deadline, which it has to ask before every step.
    """
    deadline = Deadline(timeout_s)
    outcome: list[tuple[ResultT | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((work(deadline), None))
        except BaseException as error:  # handed to the caller, who raises it
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True, name=THREAD_NAME)
    thread.start()
    try:
        thread.join(timeout_s)
    finally:
        deadline.give_up()
    if not outcome or isinstance(outcome[0][1], DeadlineError):
        raise HubError(too_late)
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def default_timeout_s(size_bytes: int) -> float:
    """How long a transfer of this size may take before it counts as stalled."""
    return MIN_TIMEOUT_S + size_bytes / SLOWEST_BYTES_PER_S

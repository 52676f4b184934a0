"""The Hugging Face Hub's own client, as push and pull use it: bounded in time, and its errors in plain words.

What can be repeated safely is repeated with growing pauses; a server that never answers ends in a HubError; no message
and no chained error carries a token. Nothing here calls login() or reads the machine's stored token.
"""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

from hub.leaks import masked
from medley.errors import HubError, InvalidNameError

if TYPE_CHECKING:
    from httpx2 import Response
    from huggingface_hub import HfApi

ResultT = TypeVar("ResultT")
Token = str | Literal[False]

RETRY_STATUSES = {408, 429, 500, 502, 503, 504}
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 8.0
MAX_TRIES = 4
MIN_TIMEOUT_S = 180.0
SLOWEST_BYTES_PER_S = 100_000  # what a slow line still manages; decides how long a big transfer may take


class DeadlineError(Exception):
    """The time for the whole action is over; ends the thread that still works on it."""


class Deadline:
    """The moment until which an action must be done."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
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

    The work runs in a thread of its own, because the client has no limit for an upload that stalls. A thread that is
    left behind changes nothing any more: it ends at its next step.
    """
    deadline = Deadline(timeout_s)
    outcome: list[tuple[ResultT | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((work(deadline), None))
        except BaseException as error:  # handed to the caller, who raises it
            outcome.append((None, error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True, name="hub-client")
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


def checked_repo_id(repo_id: str) -> str:
    """The repo id, if it is "owner/name" as the Hub writes it.

    Raises:
        InvalidNameError: it is not.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
        is_valid = repo_id.count("/") == 1
    except HFValidationError:
        is_valid = False
    if not is_valid:
        raise InvalidNameError(f"{repo_id[:100]!a} is no repo on the Hub. Write it as owner/name, such as ada/pirate.")
    return repo_id


def checked_token(token: str | bool | None) -> Token:
    """The token ready for a header, or False for none; never None, which would send the machine's own login.

    Raises:
        HubError: it cannot be a token (its text is not shown).
    """
    if not isinstance(token, str):
        return False
    token = token.strip()
    if not token:
        return False
    if not token.isascii() or not token.isprintable() or " " in token:
        raise HubError("This is not a Hub token: it has spaces or special characters in it. Copy it again.")
    return token


def open_client(token: Token, endpoint: str | None) -> "HfApi":
    """The client for one action, with its token kept in memory only."""
    from huggingface_hub import HfApi

    from medley import __version__

    return HfApi(endpoint=endpoint, token=token, library_name="medley", library_version=__version__)


@contextmanager
def quiet_client() -> Iterator[None]:
    """The client's own progress bars off for a while; ours are shown instead."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled = are_progress_bars_disabled()
    if not were_disabled:
        disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()


def answer_to(error: BaseException | None) -> "Response | None":
    """The HTTP answer behind a client error, if there is one."""
    while error is not None and getattr(error, "response", None) is None:
        error = error.__cause__
    return getattr(error, "response", None)


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind a client error, if there is one."""
    answer = answer_to(error)
    return None if answer is None else answer.status_code


def is_passing(error: Exception) -> bool:
    """Whether the same request may well succeed in a moment: the server is busy, or the line was cut."""
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    status = status_of(error)
    if status is not None:
        return status in RETRY_STATUSES
    return isinstance(error, httpx.TransportError) and not isinstance(error, OfflineModeIsEnabled)


def pause_after(error: Exception, tries: int) -> float:
    """How many seconds to wait after the `tries`-th failure: what the server asks for, else 1, 2, 4, 8."""
    return float(_asked_pause(error) or min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (tries - 1)))


def _asked_pause(error: BaseException) -> int | None:
    answer = answer_to(error)
    asked = answer.headers.get("Retry-After", "") if answer is not None else ""
    return int(asked) if asked.isdecimal() else None


def with_retries(deadline: Deadline, call: Callable[[], ResultT]) -> ResultT:
    """What `call` gives; it is repeated after passing failures, so it must be safe to repeat."""
    for tries in range(1, MAX_TRIES + 1):
        deadline.check()
        try:
            return call()
        except Exception as error:
            pause = pause_after(error, tries)
            if tries == MAX_TRIES or not is_passing(error) or not deadline.has(pause):
                raise
        deadline.pause(pause)
    raise AssertionError("unreachable")


@contextmanager
def plain_errors(repo_id: str, api: "HfApi", revision: str | None = None) -> Iterator[None]:
    """Client errors inside become HubErrors that name the repo; the original is dropped, for it may hold a token."""
    from huggingface_hub.utils import httpx

    problem = None
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, httpx.HTTPError) as error:
        problem = masked(explain(error, repo_id, api.endpoint, revision), api.token)
    if problem is not None:
        raise HubError(problem) from None


def explain(error: Exception, repo_id: str, endpoint: str, revision: str | None) -> str:
    """What went wrong with the Hub, and what to do, in plain sentences."""
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return "The Hub client is offline because HF_HUB_OFFLINE is set. Unset it and try again."
    if isinstance(cause, errors.GatedRepoError):
        return (
            f"{repo_id} is gated. Accept its terms at {endpoint}/{repo_id}, then try again with that account's token."
        )
    if isinstance(cause, errors.RevisionNotFoundError):
        return f"{repo_id} has no revision '{revision or 'main'}'; it may have been deleted. Choose another one."
    if isinstance(cause, errors.RemoteEntryNotFoundError):
        return f"A file of {repo_id} is gone from the Hub. Try again, or choose another revision."
    if (status := status_of(cause)) is not None:
        return _explain_status(status, cause, repo_id)
    if isinstance(cause, httpx.TransportError):
        return f"The Hub at {endpoint} cannot be reached ({_line(cause)}). Check the connection and try again."
    return f"The Hub sent something unexpected about {repo_id} ({_line(cause)}). Try again later."


def _explain_status(status: int, error: Exception, repo_id: str) -> str:
    said = _server_message(error)
    if status == 401 and "Invalid credentials" in said:
        return "The Hub does not know this token. Make a new one at https://huggingface.co/settings/tokens."
    if status in (401, 404):
        return f"The Hub shows no repo {repo_id}. Check the name; a private one needs a token that may see it."
    if status == 403:
        owner = repo_id.split("/")[0]
        return f"This token may not write to {repo_id}. Use one with write access to the repos of '{owner}'."
    if status == 412:
        return f"{repo_id} was changed on the Hub in the meantime, so nothing was published. Try again."
    if status == 429:
        asked = _asked_pause(error)
        wait = f"Wait {asked} seconds" if asked else "Wait some minutes"
        return f"The Hub takes no more requests for {repo_id} for now (429). {wait} and try again."
    if status >= 500:
        return f"The Hub failed with {status} for {repo_id}. Try again later."
    return f"The Hub refused {repo_id} with {status} ({said})."


def _server_message(error: Exception) -> str:
    answer = answer_to(error)
    said = answer.headers.get("X-Error-Message") if answer is not None else None
    return _shorten(said or getattr(error, "server_message", None) or str(error))


def _line(error: Exception) -> str:
    return _shorten(str(error)) or type(error).__name__


def _shorten(text: str) -> str:
    return " ".join(text.split())[:200]

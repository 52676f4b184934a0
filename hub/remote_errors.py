"""What an error of the Hub's client means: whether to try again, after how long, and what to tell a person.

The client raises httpx2 errors, OSErrors and ValueErrors; the HTTP answer behind them decides.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from httpx2 import Response

RETRY_STATUSES = {408, 429, 500, 502, 503, 504}
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 8.0


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
        return f"This token may not do that with {repo_id}: a push needs write access to the repos of '{owner}'."
    if status == 409:
        return f"The Hub is busy with something else about {repo_id} ({said}). Try again in a moment."
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

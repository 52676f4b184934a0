"""The Hugging Face Hub's own client, as push and pull use it: what goes in is checked, what comes out is plain.

No message carries a token, and nothing here calls login() or reads the machine's stored one.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hub.deadline import Deadline, ResultT
from hub.leaks import masked
from hub.remote_errors import explain, is_passing, pause_after
from medley.errors import HubError, InvalidNameError

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

Token = str | Literal[False]

MAX_TRIES = 4
CHUNK_BYTES = 8 * 1024 * 1024


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
    from huggingface_hub.errors import XetDownloadError
    from huggingface_hub.utils import httpx

    problem = None
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, httpx.HTTPError, XetDownloadError) as error:
        problem = masked(explain(error, repo_id, api.endpoint, revision), api.token)
    if problem is not None:
        raise HubError(problem) from None


def same_as_listed(content: Path | bytes, sha256: str, size_bytes: int, listed: "RepoFile | None") -> bool:
    """Whether a file is the one that the Hub lists: by sha256 where it gives one, else by git's own id.

    Args:
        content: the file or its bytes.
        sha256, size_bytes: of that content.
        listed: what the Hub's tree says, or None where it has no such file.
    """
    if listed is None or listed.size != size_bytes:
        return False
    if listed.lfs is not None:
        return listed.lfs.sha256 == sha256
    return listed.blob_id == _git_sha1(content, size_bytes)


def _git_sha1(content: Path | bytes, size_bytes: int) -> str:
    digest = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    if isinstance(content, bytes):
        digest.update(content)
        return digest.hexdigest()
    with content.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()

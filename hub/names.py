"""What a name, an alias and a reference may look like.

A reference is `pirate` (its latest version), `pirate:v3`, `pirate:production` (an alias), `sha256:3f2a91bc`
(the first 8 or more digits of an id), or a whole id. Names are plain ASCII in lower case, so that no two of them
look alike or collide on any file system.
"""

import re
from dataclasses import dataclass

from medley.errors import InvalidNameError

MAX_NAME = 96
MIN_PREFIX = 8
LATEST = "latest"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}")
_NUMBER = re.compile(r"v[0-9]+")
_EXACT_NUMBER = re.compile(r"v[1-9][0-9]{0,8}")
_HEX = re.compile(r"[0-9a-f]{1,64}")
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
_RULE = "Use lower-case letters, digits, '.', '_' and '-', and begin with a letter or digit."


@dataclass(frozen=True)
class Reference:
    """A parsed reference: either `id_prefix`, or `name` with at most one of `number` and `alias`."""

    name: str = ""
    number: int | None = None
    alias: str | None = None
    id_prefix: str = ""


def check_name(name: str) -> None:
    """Nothing, when `name` can be used for something new.

    Raises:
        InvalidNameError: says which rule it breaks.
    """
    _check_word(name, "The name")
    if name == "sha256" or is_id(name):
        raise InvalidNameError(f"The name {quoted(name)} looks like a content id. Choose another one.")


def check_alias(alias: str) -> None:
    """Nothing, when `alias` can be used.

    Raises:
        InvalidNameError: says which rule it breaks.
    """
    if alias == LATEST:
        raise InvalidNameError("The alias 'latest' is reserved: it always means the newest version.")
    _check_word(alias, "The alias")
    if _NUMBER.fullmatch(alias):
        raise InvalidNameError(f"The alias '{alias}' looks like a version number. Choose a word, such as 'production'.")


def _check_word(word: str, what: str) -> None:
    if not word:
        raise InvalidNameError(f"{what} is empty. {_RULE}")
    if len(word) > MAX_NAME:
        raise InvalidNameError(f"{what} {quoted(word)} has {len(word)} characters; at most {MAX_NAME} are allowed.")
    if not _NAME.fullmatch(word):
        raise InvalidNameError(f"{what} {quoted(word)} cannot be used. {_RULE}")
    if "--" in word or word.endswith("."):
        raise InvalidNameError(f"{what} {quoted(word)} cannot be used: it has '--' in it or ends in '.'.")
    if word.split(".")[0] in _WINDOWS_DEVICES:
        raise InvalidNameError(f"{what} {quoted(word)} cannot be used: Windows reserves it for a device.")


def quoted(text: str) -> str:
    """A user's text for a message: one line, control and look-alike characters visible, long text cut."""
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def is_id(text: str) -> bool:
    """Whether it is a whole content id."""
    return len(text) == 64 and _HEX.fullmatch(text) is not None


def parse_reference(text: str) -> Reference:
    """What a reference means.

    Raises:
        InvalidNameError: it cannot be a reference to anything.
    """
    if is_id(text):
        return Reference(id_prefix=text)
    name, colon, rest = text.partition(":")
    if name == "sha256" and colon:
        return _parse_id_prefix(rest)
    check_name(name)
    if not colon or rest == LATEST:
        return Reference(name)
    if _EXACT_NUMBER.fullmatch(rest):
        return Reference(name, number=int(rest[1:]))
    if _NUMBER.fullmatch(rest):
        raise InvalidNameError(f"{quoted(text)} names no version: versions are written {name}:v1, {name}:v2, ...")
    check_alias(rest)
    return Reference(name, alias=rest)


def _parse_id_prefix(prefix: str) -> Reference:
    if not _HEX.fullmatch(prefix) or len(prefix) < MIN_PREFIX:
        raise InvalidNameError(
            f"{quoted('sha256:' + prefix)} is not an id: give {MIN_PREFIX} to 64 of its digits (0-9, a-f)."
        )
    return Reference(id_prefix=prefix)

"""Reading files that somebody else wrote: regular files only, no larger than expected, strict JSON.

Nothing here knows what an adapter is. A pipe or a device is refused before a read could hang on it; JSON with
duplicate keys, NaN, Infinity or deep nesting is refused, because two readers could understand it differently.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from medley.errors import AdapterFormatError, ProblemsError

MAX_DEPTH = 12


def label_of(path: Path) -> str:
    """The last two parts of a path, quoted, for a message: 'pirate/adapter_config.json'."""
    return repr("/".join(path.parts[-2:]))


def open_regular(path: Path, *, follow_links: bool = True) -> BinaryIO:
    """The file, open for reading, if it is a regular file.

    Args:
        path: what to open.
        follow_links: False refuses a symbolic link at the end of the path.

    Raises:
        AdapterFormatError: missing, unreadable, a folder, a pipe, a device or (where refused) a link.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # without O_NONBLOCK, opening a pipe waits for its writer
    try:
        descriptor = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise AdapterFormatError(f"{label_of(path)} is missing.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise AdapterFormatError(f"{label_of(path)} cannot be read: {_reason(error)}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AdapterFormatError(f"{label_of(path)} is not a regular file.")
    return os.fdopen(descriptor, "rb")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "the path is not valid"


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, 64 hex digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json_object(path: Path, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a file of at most `max_bytes`.

    Raises:
        AdapterFormatError: not a regular file, too large, or not strict JSON.
    """
    with open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise AdapterFormatError(f"{label_of(path)} is larger than {max_bytes:,} bytes.")
    return parse_json_object(data, label_of(path))


def parse_json_object(data: bytes, label: str) -> dict[str, Any]:
    """The JSON object in `data`; duplicate keys, NaN, Infinity, odd numbers and deep nesting are refused."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
        _check_depth_and_numbers(value)
    except RecursionError as error:
        raise AdapterFormatError(f"{label} is nested too deeply.") from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise AdapterFormatError(f"{label} is not acceptable JSON: {error}.") from error
    if not isinstance(value, dict):
        raise AdapterFormatError(f"{label} must hold a JSON object, found {type(value).__name__}.")
    return value


def every_key(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested JSON with its value, depth first."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, value
            yield from every_key(value)
    elif isinstance(content, list):
        for value in content:
            yield from every_key(value)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {double[:100]!r} appears twice")
    return result


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


def _check_depth_and_numbers(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        if any(isinstance(each, float) and not math.isfinite(each) for each in level):
            raise ValueError("a number is too large")
        lists = [each if isinstance(each, list) else each.values() for each in level if isinstance(each, (list, dict))]
        level = [inner for each in lists for inner in each]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def raise_problems(subject: str, problems: list[str]) -> None:
    """Raise what was found wrong with `subject`: nothing, one AdapterFormatError, or all of it together."""
    if len(problems) == 1:
        raise AdapterFormatError(f"{subject}: {problems[0]}")
    if problems:
        raise ProblemsError(subject, problems)

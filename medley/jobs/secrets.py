"""Keeps access tokens out of everything a job writes: specs refuse them, messages and logs are scrubbed.

A token may reach a worker through its environment (it is needed to download a gated base) and goes no further.
"""

import os
from collections.abc import Mapping
from typing import Any, TextIO

from hub.leaks import masked

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def scrub(text: str) -> str:
    """The text with every access token replaced, whether it looks like one or stands in our environment."""
    return masked(text, *(os.environ.get(name) for name in TOKEN_VARIABLES))


def scrub_value(value: Any) -> Any:
    """A JSON-like value with the tokens in its texts replaced."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {key: scrub_value(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub_value(part) for part in value]
    return value


def find_token(value: Any, place: str = "") -> str | None:
    """Where in a JSON-like value a token stands ("params.source"), or None."""
    if isinstance(value, str):
        return place if scrub(value) != value else None
    if isinstance(value, Mapping):
        parts = ((f"{place}.{key}" if place else str(key), part) for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        parts = ((f"{place}[{index}]", part) for index, part in enumerate(value))
    else:
        return None
    return next((found for name, part in parts if (found := find_token(part, name))), None)


class ScrubbedStream:
    """Stands before stdout or stderr and scrubs each text that Python code writes there."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(scrub(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

"""Whether adapters were trained with the same tokens added to their base's vocabulary, from the files beside them.

Most adapters bring no tokenizer; those that do say which tokens were added, the base's own special tokens included.
"""

import functools
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from medley.errors import UserError
from medley.lm.adapter_file import AdapterFile, read_json_object

MAX_BYTES = 128 * 1024 * 1024
SMALL_FILE, SETTINGS_FILE, WHOLE_FILE = "added_tokens.json", "tokenizer_config.json", "tokenizer.json"
TEMPLATE_FILE = "chat_template.jinja"


def token_findings(adapters: Mapping[str, AdapterFile]) -> tuple[list[str], list[str]]:
    """Problems and warnings about the tokenizers that lie beside the adapters."""
    problems: list[str] = []
    known: dict[str, dict[str, int]] = {}
    for name, adapter in adapters.items():
        try:
            tokens = added_tokens(adapter.folder)
        except UserError as error:
            problems.append(f"'{name}': {error}")
        else:
            known |= {name: tokens} if tokens is not None else {}
    for first, second in pairwise(known):
        problems += _difference(first, known[first], second, known[second])
    return problems, _template_warnings(adapters)


def added_tokens(folder: Path) -> dict[str, int] | None:
    """The tokens that the folder's tokenizer has beside its vocabulary, with their ids; None where it has no tokenizer.

    Raises:
        AdapterFormatError: the tokenizer's file cannot be read.
    """
    for file_name in (SMALL_FILE, SETTINGS_FILE, WHOLE_FILE):
        path = folder / file_name
        if path.is_file():
            about = path.stat()
            tokens = _read(path, about.st_mtime_ns, about.st_size)
            if tokens is not None:
                return tokens
    return None


@functools.lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int, size_bytes: int) -> dict[str, int] | None:
    """One file's added tokens; kept in memory while the file stays the same, because the page asks at every change."""
    raw = read_json_object(path, MAX_BYTES)
    if path.name == SMALL_FILE:
        return {token: number for token, number in raw.items() if isinstance(number, int)}
    if path.name == SETTINGS_FILE:
        listed = raw.get("added_tokens_decoder")
        if not isinstance(listed, dict):
            return None
        return _tokens([(each, int(key)) for key, each in listed.items() if key.isdecimal()])
    listed = raw.get("added_tokens")
    return _tokens([(each, each.get("id")) for each in listed or () if isinstance(each, dict)])


def _tokens(listed: list[tuple[Any, Any]]) -> dict[str, int]:
    return {
        each["content"]: number
        for each, number in listed
        if isinstance(each, dict) and isinstance(each.get("content"), str) and isinstance(number, int)
    }


def _difference(first: str, tokens: Mapping[str, int], second: str, others: Mapping[str, int]) -> list[str]:
    if tokens == others:
        return []
    token = min(key for key in {*tokens, *others} if tokens.get(key) != others.get(key))
    places = [f"{each[token]} in '{name}'" for name, each in ((first, tokens), (second, others)) if token in each]
    only = " alone" if len(places) == 1 else ""
    return [
        f"'{first}' and '{second}' were trained with different added tokens: '{token}' is {' and '.join(places)}{only}."
        " Merged they would need one tokenizer; retrain one with the tokens of the other."
    ]


def _template_warnings(adapters: Mapping[str, AdapterFile]) -> list[str]:
    files = {name: adapter.folder / TEMPLATE_FILE for name, adapter in adapters.items()}
    texts = {name: file.read_bytes() for name, file in files.items() if file.is_file()}
    if len(set(texts.values())) < 2:
        return []
    return [
        "The adapters were trained with different chat templates "
        f"({', '.join(texts)}); the merged one will see only one of them."
    ]

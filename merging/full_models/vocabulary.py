"""The tokens of a model folder's tokenizer, from its file alone: no tokenizer is built."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from medley.errors import BaseModelError


def vocabulary_of(folder: Path) -> Mapping[str, int]:
    """Tokens and their numbers from tokenizer.json, added ones too; empty where the tokenizer is in another form.

    Raises:
        BaseModelError: the file does not hold a tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return {}
    about = path.stat()
    return _read(path, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=8)
def _read(path: Path, changed_ns: int, size_bytes: int) -> Mapping[str, int]:
    """Kept in memory while the file stays the same, because every check of a recipe asks several times."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        listed = content["model"]["vocab"]
        if isinstance(listed, list):  # unigram: pairs of token and score
            listed = {token: number for number, (token, _) in enumerate(listed)}
        return {**listed, **{each["content"]: each["id"] for each in content.get("added_tokens") or []}}
    except (ValueError, KeyError, TypeError) as error:
        raise BaseModelError("its tokenizer.json is damaged. Fetch or save the model again.") from error

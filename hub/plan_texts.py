"""What a reader of the files of a push could find in them: their texts, piece by piece, and copies without paths.

A text is read in overlapping pieces, so that rows of many gigabytes are looked at without being loaded.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.leaks import LOCAL_PATH, last_part, without_local_paths
from medley.errors import UserError
from medley.lm.adapter_file import CONFIG_FILE

if TYPE_CHECKING:
    from hub.records import Version
    from hub.registry import Registry

BINARY_SUFFIXES = (".model",)
MAX_HEADER_BYTES = 16 * 1024 * 1024
PIECE_BYTES = 4 * 1024 * 1024
OVERLAP_BYTES = 8 * 1024  # longer than any token or path, so that none is cut in two
SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json")


def texts_of(name: str, content: Path | bytes) -> Iterator[str]:
    """What a reader of the file could find in it, in pieces: all of a text, the header of a weights file."""
    if isinstance(content, bytes):
        yield content.decode("utf-8", "replace")
        return
    with content.open("rb") as file:
        if name.endswith(".safetensors"):
            length = min(int.from_bytes(file.read(8), "little"), MAX_HEADER_BYTES)
            yield file.read(length).decode("utf-8", "replace")
            return
        encoding = "latin-1" if name.endswith(BINARY_SUFFIXES) else "utf-8"
        before = b""
        while piece := file.read(PIECE_BYTES):
            seen = before + piece
            yield seen.decode(encoding, "replace")
            before = seen[-OVERLAP_BYTES:]


def cleaned(
    registry: "Registry", version: "Version", sources: Mapping[str, Path]
) -> tuple[dict[str, Path | bytes], list[str]]:
    """The contents to upload, and which files had to be changed for that."""
    contents: dict[str, Path | bytes] = dict(sources)
    replaced = []
    cleaners: dict[str, Callable[[str], str]] = {
        CONFIG_FILE: lambda text: _clean_config(text, version.base),
        "recipe.yaml": lambda text: _clean_ours(registry, text),
        "merge_report.json": lambda text: _clean_ours(registry, text),
        **dict.fromkeys(SETTINGS, _clean_values),
    }
    for name in sorted(set(cleaners) & set(sources)):
        old = sources[name].read_bytes().decode("utf-8", "replace")
        new = cleaners[name](old)
        if new != old:
            contents[name] = new.encode()
            replaced.append(name)
    return contents, replaced


def _clean_config(text: str, base: str | None) -> str:
    settings = _json_object(text)
    if settings is None:
        return text
    if base is not None and settings.get("base_model_name_or_path") != base:
        settings["base_model_name_or_path"] = base
        text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return without_local_paths(text)


def _clean_ours(registry: "Registry", text: str) -> str:
    """A recipe or report whose inputs were folders of the store: they get the names they have in the registry."""
    store = str(registry.home / "store")

    def named(path: str) -> str:
        found = re.search(r"[0-9a-f]{64}", path)
        if not found or not path.startswith(store):
            return last_part(path)
        try:
            return registry.get(found[0]).label
        except UserError:
            return f"sha256:{found[0]}"

    return without_local_paths(text, named)


def _clean_values(text: str) -> str:
    """Settings without values that are a path as a whole; templates and tokens stay as they are."""
    settings = _json_object(text)
    if settings is None:
        return text
    paths = [key for key, value in settings.items() if isinstance(value, str) and LOCAL_PATH.fullmatch(value)]
    if not paths:
        return text
    settings = {key: last_part(value) if key in paths else value for key, value in settings.items()}
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:  # a damaged file, which the check of the files has refused
        return None
    return value if isinstance(value, dict) else None

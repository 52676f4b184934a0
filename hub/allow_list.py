"""Which files of somebody's adapter folder or archive we take, leave behind, or refuse; one table for each answer.

What we take is listed by name. What trainers and desktops commonly leave beside an adapter is left out, unopened, and
named to the user. Everything else is refused, because nobody can say what it would do.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO, Literal

from hub.names import quoted
from medley.errors import AdapterFormatError, ProblemsError
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE

MAX_ENTRIES = 10_000
MAX_SHOWN = 10
MEBIBYTE = 1024 * 1024
TAKEN = {  # name: the most bytes it may have
    CONFIG_FILE: 16 * MEBIBYTE,
    WEIGHTS_FILE: 256 * 1024 * MEBIBYTE,
    "README.md": MEBIBYTE,
    "recipe.yaml": MEBIBYTE,
    "merge_report.json": 64 * MEBIBYTE,
    "chat_template.jinja": 128 * 1024,
    "tokenizer_config.json": 16 * MEBIBYTE,
    "special_tokens_map.json": MEBIBYTE,
    "added_tokens.json": 16 * MEBIBYTE,
    "tokenizer.json": 128 * MEBIBYTE,
    "tokenizer.model": 64 * MEBIBYTE,
    "sentencepiece.bpe.model": 64 * MEBIBYTE,
    "spiece.model": 64 * MEBIBYTE,
    "vocab.json": 64 * MEBIBYTE,
    "vocab.txt": 64 * MEBIBYTE,
    "merges.txt": 64 * MEBIBYTE,
}
LICENCE = re.compile(r"(LICEN[SC]E|NOTICE)[A-Za-z0-9._-]{0,60}")
MAX_LICENCE_BYTES = MEBIBYTE
LEFT_OUT = re.compile(  # the first part of a path, folders with their '/'
    r"training_args\.(bin|yaml)|(optimizer|scheduler|scaler)\.(pt|bin)|rng_state[\w-]*\.pth|trainer_state\.json"
    r"|trainer_log\.jsonl|(all|train|eval|predict)_results\.json|training_\w*loss\.png|events\.out\.tfevents\..*"
    r"|(checkpoint-[^/]+|global_step\d+|runs|wandb|\.git|\.cache|__MACOSX)/"
    r"|\.gitattributes|\.gitignore|\.DS_Store|\._.*|Thumbs\.db|desktop\.ini"
)
PICKLE = re.compile(r".*\.(bin|pt|pth|pkl|pickle|ckpt|joblib)", re.IGNORECASE)
CODE = re.compile(r".*\.(py|pyc|so|sh|exe|dll|ipynb)", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """Something in a folder or an archive.

    Attributes:
        path: inside the source, with '/'; a folder's ends in '/'.
        kind: "link" is a symbolic link that may not be followed, "special" a pipe, socket or device.
        size_bytes: as the source says; never trusted while copying.
        open: opens a file's bytes.
    """

    path: str
    kind: Literal["file", "folder", "link", "special"]
    size_bytes: int
    open: Callable[[], BinaryIO]


def max_bytes(name: str) -> int:
    """The most bytes that a taken file may have."""
    return TAKEN.get(name, MAX_LICENCE_BYTES)


def sort_entries(entries: Iterable[Entry], source: str) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """What to take, by name, and what is left out, sorted.

    Args:
        entries: of the top level, or with paths below it.
        source: the folder's or archive's name, for messages.

    Raises:
        AdapterFormatError, ProblemsError: every entry that is refused, or two that one file system would confuse.
    """
    entries = list(entries)
    has_weights = any(entry.path == WEIGHTS_FILE for entry in entries)
    taken, left_out, problems = {}, set(), []
    for entry in entries:
        top, slash, _ = entry.path.partition("/")
        if LEFT_OUT.fullmatch(top + slash) or (entry.path == "adapter_model.bin" and has_weights):
            left_out.add(top + slash)
        elif reason := _refusal(entry):
            problems.append(f"{quoted(entry.path)} {reason}")
        else:
            taken[entry.path] = entry
    problems += _collisions(taken)
    if len(problems) == 1:
        raise AdapterFormatError(f"{quoted(source)} cannot be imported: {problems[0]}")
    if problems:
        more = [f"and {len(problems) - MAX_SHOWN:,} more."] if len(problems) > MAX_SHOWN else []
        raise ProblemsError(quoted(source), [*problems[:MAX_SHOWN], *more])
    return taken, tuple(sorted(left_out))


def _refusal(entry: Entry) -> str:
    """Why an entry is refused, or ""."""
    if entry.kind == "link":
        return "is a symbolic link. Put the file itself there."
    if entry.kind == "special":
        return "is a pipe, a socket or a device, not a file."
    if PICKLE.fullmatch(entry.path):
        return f"is a pickle and is never opened. Save the weights as {WEIGHTS_FILE}."
    if CODE.fullmatch(entry.path):
        return "is code, which an adapter does not need. Remove it."
    if "/" in entry.path or not (entry.path in TAKEN or LICENCE.fullmatch(entry.path)):
        return "is not part of an adapter. Remove it or leave it out."
    if entry.kind != "file":
        return "is a folder where a file is expected."
    if entry.size_bytes > max_bytes(entry.path):
        return f"has {entry.size_bytes:,} bytes; at most {max_bytes(entry.path):,} are accepted."
    return ""


def _collisions(names: Iterable[str]) -> list[str]:
    """Names (all ASCII by now) that would be one file where case does not count."""
    seen: dict[str, str] = {}
    problems = []
    for name in names:
        key = name.casefold()
        if key in seen:
            problems.append(f"{quoted(seen[key])} and {quoted(name)} differ in case only. Rename one of them.")
        seen[key] = name
    return problems

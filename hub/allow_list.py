"""Which files of somebody's folder, archive or repo we take, leave behind, or refuse; one table for each answer.

What we take is listed by name, kind by kind (`Rules`; those of full models and datasets are in kind_lists.py). What
trainers and desktops commonly leave beside it is left out, unopened, and named to the user. Everything else is refused,
because nobody can say what it would do.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from hub.names import quoted
from medley.errors import AdapterFormatError, ProblemsError
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE

MAX_ENTRIES = 10_000
MAX_SHOWN = 10
MEBIBYTE = 1024 * 1024
MAX_WEIGHTS_BYTES = 256 * 1024 * MEBIBYTE
TEXTS = {  # name: the most bytes it may have
    "README.md": MEBIBYTE,
    "recipe.yaml": MEBIBYTE,
    "merge_report.json": 64 * MEBIBYTE,
}
TOKENIZER = {
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
TAKEN = {CONFIG_FILE: 16 * MEBIBYTE, WEIGHTS_FILE: MAX_WEIGHTS_BYTES, **TEXTS, **TOKENIZER}
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


@dataclass(frozen=True)
class Rules:
    """What one kind of thing may consist of.

    Attributes:
        noun: what it is called in a message, with its article.
        taken: file name -> the most bytes it may have.
        patterns: the same for names that no list can hold; searched after `taken`.
        left_out: further names (folders with their '/') that stay behind unopened.
        spare: names that stay behind where weights that we take lie beside them; refused otherwise.
        has_weights: whether a name is that of weights that we take.
        advice: what to do instead of a pickle.
    """

    noun: str
    taken: Mapping[str, int]
    has_weights: Callable[[str], bool]
    advice: str
    spare: re.Pattern[str] | None = None
    left_out: re.Pattern[str] | None = None
    patterns: Mapping[re.Pattern[str], int] = field(default_factory=lambda: {LICENCE: MAX_LICENCE_BYTES})

    def takes(self, name: str) -> bool:
        """Whether a file of this name belongs to it."""
        return self.max_bytes(name) is not None

    def max_bytes(self, name: str) -> int | None:
        """The most bytes that a file of this name may have; None where it is not taken."""
        by_pattern = (most for pattern, most in self.patterns.items() if pattern.fullmatch(name))
        return self.taken[name] if name in self.taken else next(by_pattern, None)

    def leaves(self, first_part: str) -> bool:
        """Whether what begins so stays behind whatever else is there."""
        found = LEFT_OUT.fullmatch(first_part) or (self.left_out and self.left_out.fullmatch(first_part))
        return found is not None


ADAPTER = Rules(
    noun="an adapter",
    taken=TAKEN,
    has_weights=lambda name: name == WEIGHTS_FILE,
    advice=f"Save the weights as {WEIGHTS_FILE}.",
    spare=re.compile(r"adapter_model\.bin"),
)


def sort_entries(
    entries: Iterable[Entry], source: str, rules: Rules = ADAPTER
) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """What to take, by name, and what is left out, sorted.

    Args:
        entries: of the top level, or with paths below it.
        source: the folder's or archive's name, for messages.
        rules: of the kind that it should be.

    Raises:
        AdapterFormatError, ProblemsError: every entry that is refused, or two that one file system would confuse.
    """
    entries = list(entries)
    has_weights = any(rules.has_weights(entry.path) for entry in entries)
    taken, left_out, problems = {}, set(), []
    for entry in entries:
        top, slash, _ = entry.path.partition("/")
        is_spare = has_weights and rules.spare is not None and rules.spare.fullmatch(entry.path)
        if is_spare or (rules.leaves(top + slash) and not rules.takes(entry.path)):
            left_out.add(top + slash)
        elif reason := _refusal(entry, rules):
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


def _refusal(entry: Entry, rules: Rules) -> str:
    """Why an entry is refused, or ""."""
    if entry.kind == "link":
        return "is a symbolic link. Put the file itself there."
    if entry.kind == "special":
        return "is a pipe, a socket or a device, not a file."
    if PICKLE.fullmatch(entry.path):
        return f"is a pickle and is never opened. {rules.advice}"
    if CODE.fullmatch(entry.path):
        return f"is code, which {rules.noun} does not need. Remove it."
    most = rules.max_bytes(entry.path)
    if "/" in entry.path or most is None:
        return f"is not part of {rules.noun}. Remove it or leave it out."
    if entry.kind != "file":
        return "is a folder where a file is expected."
    if entry.size_bytes > most:
        return f"has {entry.size_bytes:,} bytes; at most {most:,} are accepted."
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

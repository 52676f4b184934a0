"""Which modules a config's patterns mean, resolved as peft 0.21 resolves them, but without trusting the patterns.

The patterns come from somebody else's file and are regular expressions, so one of them can run for hours. A plain name
(nearly all are) is looked up; a real expression is run in a child process with a second of processor time.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

ValueT = TypeVar("ValueT")

MAX_PATTERN_LENGTH = 4_000
MAX_EXPRESSIONS = 256
CPU_SECONDS = 1
BACKSTOP_SECONDS = 30  # wall clock, for a machine so busy that the child gets no processor time
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
TOKEN = re.compile(
    r"(?P<letter>\\.|\[\^?\]?(?:\\.|[^\]\\])*\])|(?P<open>\()|(?P<close>\))"
    r"|(?P<repeat>[*+]|\{\d*,\d*\}|\{\d+\})|(?P<other>.)",
    re.DOTALL,
)
CHILD = """
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1]) + 1))
try:
    resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
except (OSError, ValueError):  # macOS has no such limit
    pass
patterns, names = json.load(sys.stdin)
matches = []
for pattern in patterns:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError, MemoryError):
        matches.append(None)
        continue
    for name in names:
        compiled.fullmatch(name + "!")  # most patterns only run away where they fail in the end
    matches.append([index for index, name in enumerate(names) if compiled.fullmatch(name)])
json.dump(matches, sys.stdout)
"""


def match_names(patterns: Sequence[str], names: Sequence[str]) -> list[set[str]]:
    """For each pattern, the names that it matches from end to end.

    Raises:
        ValueError: too long, too many, a nested quantifier, does not compile, or needs more than a second.
    """
    if len(patterns) > MAX_EXPRESSIONS:
        raise ValueError(f"there are {len(patterns):,} regular expressions; at most {MAX_EXPRESSIONS} are accepted.")
    for pattern in patterns:
        if len(pattern) > MAX_PATTERN_LENGTH:
            raise ValueError(f"a regular expression is longer than {MAX_PATTERN_LENGTH:,} characters.")
        if has_nested_quantifier(pattern):
            raise ValueError(f"the regular expression {pattern[:100]!r} repeats a repetition and could run for ever.")
    results = _match_in_child(patterns, names) if patterns else []
    for pattern, indices in zip(patterns, results, strict=True):
        if indices is None:
            raise ValueError(f"the regular expression {pattern[:100]!r} does not compile.")
    return [{names[index] for index in indices} for indices in results]


def _match_in_child(patterns: Sequence[str], names: Sequence[str]) -> list[list[int] | None]:
    command = [sys.executable, "-I", "-S", "-c", CHILD, str(CPU_SECONDS)]
    try:
        result = subprocess.run(
            command, input=json.dumps([patterns, names]).encode(), capture_output=True, timeout=BACKSTOP_SECONDS
        )
    except subprocess.TimeoutExpired:
        result = None
    if result is None or result.returncode != 0:
        shown = ", ".join(repr(pattern[:100]) for pattern in patterns[:3])
        raise ValueError(f"the regular expression {shown} needs more than a second to match the modules.")
    return json.loads(result.stdout)


def has_nested_quantifier(pattern: str) -> bool:
    """True where a group that holds a repetition is itself repeated, as in (a+)+; `?` does not count as one."""
    holds_repetition = [False]  # for each open group, outermost first
    closed_repeats = False  # whether the token just before was a group that holds a repetition
    for match in TOKEN.finditer(pattern):
        token = match.lastgroup
        if token == "open":
            holds_repetition.append(False)
        if token == "repeat":
            if closed_repeats:
                return True
            holds_repetition[-1] = True
        closed_repeats = token == "close" and len(holds_repetition) > 1 and holds_repetition.pop()
        holds_repetition[-1] = holds_repetition[-1] or closed_repeats
    return False


def resolve_patterns(
    patterns: Mapping[str, ValueT], names: Sequence[str], default: ValueT, option: str
) -> dict[str, ValueT]:
    """For each module name, the value that peft takes from `rank_pattern` or `alpha_pattern`.

    peft takes the first key, in the order of the file, for which `re.match(rf"(.*\\.)?({key})$", name)` holds, else the
    default. A key without special characters is looked up instead (its dots still mean any character), so that a file
    with thousands of keys is resolved in one pass.

    Args:
        patterns: key to value.
        names: full module names, as in the base model.
        default: what a module gets that no key matches.
        option: the name of the pattern, for the message.

    Raises:
        ValueError: a key that is not an acceptable expression.
    """
    keys = list(patterns)
    plain = _PlainKeys({key: order for order, key in enumerate(keys) if PLAIN_NAME.fullmatch(key)})
    expressions = [(order, key) for order, key in enumerate(keys) if not PLAIN_NAME.fullmatch(key)]
    try:
        _check_each_compiles([key for _, key in expressions])
        matched = match_names([rf"(.*\.)?({key})" for _, key in expressions], names)
    except ValueError as error:
        raise ValueError(f"in {option}, {error}") from error
    resolved = {}
    for name in names:
        orders = [order for (order, _), found in zip(expressions, matched, strict=True) if name in found]
        first = min([*orders, *plain.orders(name)], default=None)
        resolved[name] = default if first is None else patterns[keys[first]]
    return resolved


def _check_each_compiles(keys: list[str]) -> None:
    """A key such as `a)|(b` would compile inside peft's brackets while meaning something else; refuse it."""
    match_names(keys, [])


class _PlainKeys:
    """Keys of plain characters, found by a name's endings: same length, same letters, any letter at the key's dots."""

    def __init__(self, order_of: Mapping[str, int]) -> None:
        self._tables: dict[int, dict[tuple[int, ...], dict[str, int]]] = {}
        for key, order in order_of.items():
            dots = tuple(index for index, letter in enumerate(key) if letter == ".")
            self._tables.setdefault(len(key), {}).setdefault(dots, {})[key] = order

    def orders(self, name: str) -> list[int]:
        """Where in the file the keys stand that match `name`."""
        starts = [0, *(index + 1 for index, letter in enumerate(name) if letter == ".")]
        found = []
        for ending in (name[start:] for start in starts):
            for dots, table in self._tables.get(len(ending), {}).items():
                letters = list(ending)
                for dot in dots:
                    letters[dot] = "."
                found.append(table.get("".join(letters)))
        return [order for order in found if order is not None]

"""How results reach the terminal: JSON for scripts, aligned columns and short facts for people. No rich here."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

json_option = click.option("--json", "as_json", is_flag=True, help="Print only JSON on stdout.")


def print_json(value: Any) -> None:
    """One JSON value on stdout, and nothing else."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest cell, two spaces apart; the last one is not padded."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(headers), *cells]) for column in range(len(headers))]
    for line in [[header.upper() for header in headers], *cells]:
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        click.echo("  ".join(padded).rstrip())


def print_facts(facts: Mapping[str, object]) -> None:
    """One `name  value` line each; values that are None or empty are left out."""
    shown = {name: value for name, value in facts.items() if value not in (None, "", (), [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        click.echo(f"{name.ljust(width)}  {text}")


def size_text(size_bytes: float) -> str:
    """`36 MB`: three digits at most, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 999.5:
            return f"{size_bytes:.0f} {unit}" if size_bytes >= 10 or unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def harmless(text: str) -> str:
    """A model's or a stranger's text without what a terminal would obey: control characters but tabs and line ends."""
    return CONTROL.sub("", text)


def base_text(base: str | None, revision: str | None = None) -> str:
    """A base for people: a Hub id, with the beginning of its commit; of a folder's digest the beginning."""
    if base is None:
        return "-"
    name = base[: len("folder:") + 8] if base.startswith("folder:") else base
    return f"{name} @ {revision[:8]}" if revision else name


def count_of(number: int, word: str) -> str:
    """`1 folder`, `3 folders`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def age_text(moment: float, now: Callable[[], float] = time.time) -> str:
    """`5 min ago`, from seconds since 1970."""
    seconds = max(0.0, now() - moment)
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (129_600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds / 86_400:.0f} days ago"


def time_text(moment: float) -> str:
    """`2026-11-22 02:06:50`, local time, from seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))

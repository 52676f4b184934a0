"""Progress on stderr: a bar where somebody looks, warnings always. stdout is left to results."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from medley.events import Emit

if TYPE_CHECKING:
    from rich.progress import Progress


def open_bar(title: str) -> "Progress":
    """A bar of one task, with time left and room for `numbers`; it shows nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}", markup=False),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    bar.add_task(title, total=None, numbers="")
    return bar


def show_event(bar: "Progress", kind: str, fields: dict[str, Any]) -> None:
    """Move the bar, or print a warning above it; other events are not shown."""
    if kind == "progress":
        text = {"description": fields["text"]} if fields.get("text") else {}
        bar.update(bar.task_ids[0], completed=fields["step"], total=fields.get("total") or None, **text)
    elif kind == "warning":
        bar.console.print(f"Warning: {fields['text']}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(title: str) -> Iterator[Emit]:
    """An `emit` for work that runs in this very process."""
    with open_bar(title) as bar:
        yield lambda kind, **fields: show_event(bar, kind, fields)


def print_steps() -> Emit:
    """An `emit` that prints a line for each new step, for work whose steps are few and long (an upload)."""
    shown = ""

    def emit(kind: str, **fields: Any) -> None:
        nonlocal shown
        text = f"Warning: {fields['text']}" if kind == "warning" else fields.get("text", "")
        if text and text != shown:
            click.echo(text, err=True)
            shown = text

    return emit

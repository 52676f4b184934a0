"""A progress bar for work that runs in this very process (comparing, preparing the base)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medley.events import Emit


@contextmanager
def progress_bar(title: str) -> Iterator[Emit]:
    """An `emit` whose progress events move one bar on stderr and whose warnings are printed above it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(title, total=None)

        def emit(kind: str, **fields: Any) -> None:
            if kind == "progress":
                text = fields.get("text") or title
                progress.update(bar, completed=fields["step"], total=fields["total"] or None, description=text)
            elif kind == "warning":
                console.print(f"Warning: {fields['text']}", markup=False, highlight=False)

        yield emit

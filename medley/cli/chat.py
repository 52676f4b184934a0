"""`medley chat`: one or several panes in the terminal, answered as one batch on one base."""

from typing import TYPE_CHECKING, Any

import click

from medley.cli.flags import flags_from, given
from medley.cli.output import harmless
from medley.cli.progress import progress_bar
from medley.lm.sampling import Sampling
from medley.options import from_mapping

if TYPE_CHECKING:
    from medley.jobs.panes import OpenPanes


@click.command()
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@click.option("--prompt", help="Answer this and end; without it a conversation starts.")
@click.option("--base", help="Base model, when only `base` is asked; the bundled one when not given.")
@flags_from(Sampling)
def chat(names: tuple[str, ...], prompt: str | None, base: str | None, **sampling: Any) -> None:
    """Talk to adapters, to blends (a=0.6+b=0.4), to the plain model (base) or to a full model, side by side."""
    from hub import open_registry
    from medley.jobs.panes import open_panes

    settings = from_mapping(Sampling, given(sampling))
    with progress_bar("Loading") as emit:
        panes = open_panes(open_registry(), names, base=base, emit=emit)
    if prompt is not None:
        answer(panes, [[{"role": "user", "content": prompt}] for _ in panes.labels], settings)
    else:
        converse(panes, settings)


def converse(panes: "OpenPanes", settings: Sampling) -> None:
    """Questions from stdin until it ends; each pane remembers its own answers."""
    click.echo("Ctrl-D ends the conversation.", err=True)
    histories: list[list[dict[str, str]]] = [[] for _ in panes.labels]
    while True:
        try:
            text = click.prompt("you", prompt_suffix="> ", err=True)
        except click.Abort:
            click.echo(err=True)
            return
        for history in histories:
            history.append({"role": "user", "content": text})
        for history, reply in zip(histories, answer(panes, histories, settings), strict=True):
            history.append({"role": "assistant", "content": reply})


def answer(panes: "OpenPanes", histories: list[list[dict[str, str]]], settings: Sampling) -> list[str]:
    """Print each pane's answer: streamed when there is one pane, in full when there are several."""
    texts = [""] * len(histories)
    is_alone = len(histories) == 1
    for update in panes.stream(histories, settings):
        texts[update.pane] += update.text
        if is_alone:
            click.echo(harmless(update.text), nl=False)
    if is_alone:
        click.echo()
    else:
        for label, text in zip(panes.labels, texts, strict=True):
            click.echo(f"{click.style(label, bold=True)}\n{harmless(text).strip()}\n")
    return texts

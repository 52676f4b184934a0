"""`medley compare`: the same prompts, several panes, one table; the answers go to a file."""

from pathlib import Path
from typing import Any

import click

from medley.cli.flags import flags_from, given
from medley.cli.output import json_option, print_json, print_table
from medley.cli.progress import progress_bar
from medley.lm.sampling import Sampling
from medley.options import from_mapping


@click.command()
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@click.option("--prompts", "prompts_path", required=True, type=click.Path(path_type=Path), help="Text file or .jsonl.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the answers as .jsonl or .html.")
@click.option("--base", help="Base model, when only `base` is asked; the bundled one when not given.")
@json_option
@flags_from(Sampling)
def compare(
    names: tuple[str, ...], prompts_path: Path, out: Path | None, base: str | None, as_json: bool, **sampling: Any
) -> None:
    """Answer the same prompts with adapters, blends (a=0.6+b=0.4) and the plain model (base)."""
    from hub import open_registry
    from medley.corpus.behaviours import BEHAVIOURS
    from medley.jobs.comparison import check_answers_path, read_prompts, shares, write_answers
    from medley.jobs.comparison import compare as run
    from medley.jobs.panes import open_panes

    prompts = read_prompts(prompts_path)
    if out is not None:
        check_answers_path(out)
    settings = from_mapping(Sampling, given(sampling))
    with progress_bar("Comparing") as emit:
        answers = run(open_panes(open_registry(), names, base=base, emit=emit), prompts, settings, emit)
    if out is not None:
        write_answers(answers, out)
    checks = {name: behaviour.check for name, behaviour in BEHAVIOURS.items()}
    table = shares(answers, checks)
    if as_json:
        print_json({"prompts": len(prompts), "panes": list(table), "behaviours": table})
        return
    print_table(["pane", *checks], [(pane, *(f"{share:.0%}" for share in row.values())) for pane, row in table.items()])
    if out is not None:
        click.echo(f"\nWrote {out}.")

"""`medley compare-types`: several types of adapter, trained on the same rows with one budget, in one table."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medley.cli.flags import flags_from, given
from medley.cli.follow import background_option, follow, must_be_done, report_start
from medley.cli.output import json_option, print_json, size_text
from trainers.trial_options import TrialOptions

if TYPE_CHECKING:
    from hub import Version
    from medley.jobs.type_report import TypeRow


@click.command("compare-types")
@click.option("--base", help="Base model; the bundled one when not given.")
@click.option("--data", help="SFT dataset in the registry, with an eval split.")
@click.option("--name", help="Name of the report.")
@click.option(
    "--general",
    type=click.Path(path_type=Path),
    help="Text file on whose paragraphs or lines forgetting is measured; a small one of ours when not given.",
)
@click.option("--show", metavar="REPORT", help="Show a report that is there already, and train nothing.")
@background_option
@json_option
@flags_from(TrialOptions)
def compare_types(
    base: str | None,
    data: str | None,
    name: str | None,
    general: Path | None,
    show: str | None,
    background: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train several types of adapter on the same rows for as many steps, and measure what each gained and cost."""
    from hub import open_registry
    from medley.jobs import compare_types_spec, open_jobs

    registry = open_registry()
    if show is not None:
        print_comparison(registry.get(show, "report"), as_json=as_json)
        return
    if data is None or name is None:
        raise click.UsageError("Name the dataset with --data and the report with --name, or a report with --show.")
    spec = compare_types_spec(registry, base=base, data=data, name=name, general=general, options=given(options))
    jobs = open_jobs()
    job = jobs.submit(spec)
    if background:
        report_start(job, as_json=as_json)
        return
    click.echo(f"Job {job.id}: {job.title}", err=True)
    ended = follow(jobs, job)
    must_be_done(ended)
    print_comparison(registry.get(f"sha256:{ended.result}", "report"), as_json=as_json)


def print_comparison(version: "Version", *, as_json: bool) -> None:
    """A report's rows, the best held-out loss first."""
    from medley.jobs.type_report import read_type_report

    rows = read_type_report(version)
    if as_json:
        print_json({"name": version.name, "version": version.number, "id": version.id, "rows": list(map(asdict, rows))})
    else:
        click.echo(f"{version.label} (sha256:{version.id[:8]}), losses in nats per token:", err=True)
        print_rows(rows)


def print_rows(rows: "Sequence[TypeRow]") -> None:
    """The table for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("type")
    titles = ("eval loss", "accuracy", "forgetting", "peak memory", "time", "file", "trainable", "rate")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.adapter,
            f"{row.eval_loss:.3f}",
            f"{row.token_accuracy:.1%}",
            f"{row.forgetting:+.3f} ± {row.forgetting_error:.3f}",
            size_text(row.memory_max),
            f"{row.train_time:.0f} s",
            size_text(row.file_size),
            f"{row.num_trainable_params:,}",
            f"{row.learning_rate:g}",
        )
    Console(width=None if Console().is_terminal else 120).print(table)

"""`medley data …`: datasets in, looked at, and out again."""

from pathlib import Path

import click

from medley.cli.data_look import check, overlap, preview, show
from medley.cli.data_mix import mix
from medley.cli.follow import background_option, submit
from medley.cli.output import json_option
from medley.cli.versions import print_versions
from medley.corpus.report import PROVENANCE


@click.group()
def data() -> None:
    """Datasets: list, show, check, import, mix, preview, overlap, export."""


@data.command("list")
@click.option("--limit", default=50, type=click.IntRange(min=1), help="Newest names shown. Default 50.")
@click.option("--all", "show_all", is_flag=True, help="Show every name.")
@json_option
def list_datasets(limit: int, show_all: bool, as_json: bool) -> None:
    """The newest version of each dataset, newest first."""
    print_versions("dataset", limit=None if show_all else limit, as_json=as_json)


@data.command("import")
@click.argument("source", metavar="FILE_OR_HUB_ID")
@click.option("--name", required=True, help="Name in the registry.")
@click.option("--format", "format_name", default="auto", help="The rows' format. Default auto.")
@click.option("--split", help="Which split of a Hub dataset; all of them when not given.")
@click.option("--revision", help="Branch, tag or commit of a Hub dataset.")
@click.option("--eval-share", default=0.1, help="Share of the prompts kept for measuring. Default 0.1.")
@click.option("--seed", default=0, help="Decides which prompts are kept for measuring. Default 0.")
@click.option("--turns", default="all", type=click.Choice(["all", "last"]), help="Answers trained on. Default all.")
@click.option("--max-rows", type=click.IntRange(min=1), help="Read at most so many rows.")
@click.option("--licence", help="Licence of the rows, kept with the dataset.")
@click.option("--provenance", type=click.Choice(PROVENANCE), help="Who wrote the answers; unknown when not given.")
@background_option
@json_option
def import_(source: str, name: str, background: bool, as_json: bool, **settings: object) -> None:
    """Read a .json, .jsonl, .csv, .tsv, .txt or .parquet file, or a Hub dataset, into clean rows."""
    from hub import open_registry
    from medley.jobs import import_spec

    settings["format"] = settings.pop("format_name")
    spec = import_spec(open_registry(), source, name=name, **settings)
    submit(spec, in_background=background, as_json=as_json)


@data.command()
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
def export(name: str, out: Path) -> None:
    """Write the rows to a new .jsonl, .csv or .parquet file."""
    from hub import open_registry
    from medley.corpus import export_rows

    version = open_registry().get(name, kind="dataset")
    click.echo(f"Wrote {export_rows(version.path, out)}.")


for command in (show, check, preview, overlap, mix):
    data.add_command(command)

"""`medley data …`: datasets in, looked at, and out again."""

from pathlib import Path

import click

from medley.cli.follow import submit
from medley.cli.output import harmless, json_option, print_facts, print_json, print_table
from medley.cli.versions import as_json_row, print_versions


@click.group()
def data() -> None:
    """Datasets: list, show, import, preview, export."""


@data.command("list")
@click.option("--limit", default=50, type=click.IntRange(min=1), help="Newest names shown. Default 50.")
@click.option("--all", "show_all", is_flag=True, help="Show every name.")
@json_option
def list_datasets(limit: int, show_all: bool, as_json: bool) -> None:
    """The newest version of each dataset, newest first."""
    print_versions("dataset", limit=None if show_all else limit, as_json=as_json)


@data.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """What an import found, fixed and dropped."""
    from hub import open_registry
    from medley.corpus import read_report
    from medley.corpus.folder import SPLITS

    version = open_registry().get(name, kind="dataset")
    report = read_report(version.path)
    if as_json:
        print_json({**as_json_row(version), "report": report.to_json()})
        return
    print_facts(
        {
            "dataset": version.label,
            "id": f"sha256:{version.id}",
            "format": report.format,
            "kind": report.kind,
            "rows": ", ".join(f"{report.rows[split]} {split}" for split in SPLITS if split in report.rows),
            "licence": report.licence,
            "source": report.source,
        }
    )
    stages = {"found": report.found, "fixed": report.fixed, "dropped": report.dropped}
    counts = [(stage, what, count) for stage, found in stages.items() for what, count in found.items()]
    if counts:
        click.echo()
        print_table(["stage", "what", "rows"], counts)
    for warning in report.warnings():
        click.echo(f"\nWarning: {warning}")


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
@click.option("--background", is_flag=True, help="Return at once; the job goes on.")
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
@click.option("--base", help="Base whose chat template and tokenizer are used; the bundled one when not given.")
@click.option("--rows", default=3, type=click.IntRange(1, 100), help="Rows shown. Default 3.")
@click.option("--max-length", default=1024, type=click.IntRange(min=8), help="Tokens kept of a row. Default 1024.")
@json_option
def preview(name: str, base: str | None, rows: int, max_length: int, as_json: bool) -> None:
    """The very tokens a model will see, the trained ones in colour."""
    from hub import open_registry
    from medley.corpus import read_rows
    from medley.corpus.tokens import preview as preview_row
    from medley.jobs.artifacts import base_folder, find_base
    from medley.lm.load import load_tokenizer

    registry = open_registry()
    version = registry.get(name, kind="dataset")
    tokenizer = load_tokenizer(base_folder(registry, find_base(registry, base)))
    shown = [preview_row(row, tokenizer, max_length=max_length) for row in read_rows(version.path, "train")[:rows]]
    if as_json:
        print_json([[{"id": each.id, "text": each.text, "trained": each.trained} for each in row] for row in shown])
        return
    for number, row in enumerate(shown, start=1):
        trained = sum(each.trained for each in row)
        click.echo(f"Row {number}: {len(row)} tokens, {trained} trained")
        texts = [click.style(harmless(each.text), fg="cyan" if each.trained else None) for each in row]
        click.echo("".join(texts) + "\n")


@data.command()
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
def export(name: str, out: Path) -> None:
    """Write the rows to a new .jsonl, .csv or .parquet file."""
    from hub import open_registry
    from medley.corpus import export_rows

    version = open_registry().get(name, kind="dataset")
    click.echo(f"Wrote {export_rows(version.path, out)}.")

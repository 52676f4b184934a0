"""`medley data show`, `check`, `preview` and `overlap`: what is in a dataset, and what a model will see of it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medley.cli.output import harmless, json_option, print_facts, print_json, print_table
from medley.cli.versions import as_json_row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hub import Registry
    from medley.corpus import ImportReport
    from medley.corpus.token_report import TokenReport

base_option = click.option("--base", help="Base whose chat template and tokenizer are used.")
length_option = click.option(
    "--max-length", default=1024, type=click.IntRange(min=8), help="Tokens kept of a row. Default 1024."
)


@click.command()
@click.argument("name")
@base_option
@length_option
@json_option
def show(name: str, base: str | None, max_length: int, as_json: bool) -> None:
    """What an import found, fixed and dropped, and what repeats; with --base also lengths in tokens."""
    from hub import open_registry
    from medley.corpus import dataset_statistics, read_report
    from medley.corpus.folder import SPLITS

    registry = open_registry()
    version = registry.get(name, kind="dataset")
    report, statistics = read_report(version.path), dataset_statistics(version.path)
    tokens = _token_reports(version.path, tokenizer_of(registry, base), max_length) if base else {}
    if as_json:
        figures = {split: figure.to_json() for split, figure in statistics.items()}
        counted = {split: {part: each.to_json() for part, each in parts.items()} for split, parts in tokens.items()}
        print_json({**as_json_row(version), "report": report.to_json(), "statistics": figures, "tokens": counted})
        return
    rows, turns = sum(report.rows.values()), sum(figure.turns for figure in statistics.values())
    print_facts(
        {
            "dataset": version.label,
            "id": f"sha256:{version.id}",
            "format": report.format,
            "kind": report.kind,
            "rows": ", ".join(f"{report.rows[split]} {split}" for split in SPLITS if split in report.rows),
            "turns": f"{turns}, {turns / max(1, rows):.1f} a row",
            "licence": report.licence,
            "provenance": report.provenance or "unknown",
            "source": report.source,
        }
    )
    click.echo()
    print_table(["stage", "what", "rows"], _counts(report))
    if tokens:
        click.echo()
        print_table(TOKEN_HEADERS, _token_rows(tokens))
    for warning in report.warnings():
        click.echo(f"\nWarning: {warning}")


def _counts(report: "ImportReport") -> list[tuple[str, str, int]]:
    stages = {"found": report.found, "fixed": report.fixed, "dropped": report.dropped}
    counts = [(stage, what, count) for stage, found in stages.items() for what, count in found.items()]
    if not report.duplicates:
        return counts
    return [
        *counts,
        ("repeats", "nearly repeats an earlier row", report.duplicates["near"]),
        ("repeats", "eval prompt nearly in train", report.duplicates["eval_near_train"]),
        ("repeats", "eval row shares 13 words with train", report.duplicates["eval_overlap"]["found"]),
    ]


TOKEN_HEADERS = ("split", "part", "rows", "median", "95 %", "longest", "cut off", "end with EOS", "trained")


def _token_reports(
    folder: Path, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> dict[str, dict[str, "TokenReport"]]:
    """split -> part that is answered with -> its figures."""
    from medley.corpus import read_rows
    from medley.corpus.folder import SPLITS
    from medley.corpus.tokens import token_reports

    found = {split: token_reports(read_rows(folder, split), tokenizer, max_length=max_length) for split in SPLITS}
    return {split: parts for split, parts in found.items() if parts}


def _token_rows(tokens: dict[str, dict[str, "TokenReport"]]) -> list[Sequence[object]]:
    return [
        (
            split,
            part,
            each.rows + each.all_masked,
            *(each.length_percentiles[percent] for percent in (50, 95, 100)),
            f"{each.truncated_share:.1%}",
            f"{each.eos_share:.1%}" if part != "prompt" else "-",
            f"{each.trained_tokens / max(1, each.tokens):.1%}",
        )
        for split, parts in tokens.items()
        for part, each in parts.items()
    ]


@click.command()
@click.argument("name")
@base_option
@click.option("--rows", default=3, type=click.IntRange(1, 100), help="Rows shown. Default 3.")
@length_option
@json_option
def preview(name: str, base: str | None, rows: int, max_length: int, as_json: bool) -> None:
    """The very tokens a model will see, the trained ones in colour; of a pair both answers."""
    from hub import open_registry
    from medley.corpus import read_rows
    from medley.corpus.tokens import answers_of
    from medley.corpus.tokens import preview as preview_row

    registry = open_registry()
    version = registry.get(name, kind="dataset")
    tokenizer = tokenizer_of(registry, base)
    shown = [
        (number, part, row, preview_row(row, tokenizer, max_length=max_length, answer=part))
        for number, row in enumerate(read_rows(version.path, "train")[:rows], start=1)
        for part in answers_of(row)
    ]
    if as_json:
        print_json(
            [[{"id": each.id, "text": each.text, "trained": each.trained} for each in tokens] for *_, tokens in shown]
        )
        return
    for number, part, row, tokens in shown:
        trained = sum(each.trained for each in tokens)
        click.echo(f"Row {number}{_part_text(part, row)}: {len(tokens)} tokens, {trained} trained")
        colour = "red" if part == "rejected" or row.get("label") is False else "cyan"
        texts = [click.style(harmless(each.text), fg=colour if each.trained else None) for each in tokens]
        click.echo("".join(texts) + "\n")


def _part_text(part: str | None, row: dict[str, Any]) -> str:
    if "label" in row:
        return ", a good answer" if row["label"] else ", a bad answer"
    return f", {part}" if part in ("chosen", "rejected") else ""


@click.command()
@click.argument("name")
@click.option("--with", "other", required=True, metavar="FILE_OR_DATASET", help="Items to look for in the rows.")
@json_option
def overlap(name: str, other: str, as_json: bool) -> None:
    """Whether a dataset gives a test away: items of a file or dataset that share 13 words in a row with it."""
    from hub import open_registry
    from medley.corpus.contamination import overlap_with

    registry = open_registry()
    folder = registry.get(name, kind="dataset").path
    place = Path(other) if os.path.isfile(other) else registry.get(other, kind="dataset").path
    found = overlap_with(folder, place)
    if as_json:
        print_json(found.to_json())
        return
    click.echo(f"{found.found} of {found.items} items stand in {found.rows} rows; {found.compared} were long enough.")
    for each in found.examples:
        click.echo(f"  item {each['item']}, row {each['row']}: {harmless(each['text'])}")


@click.command()
@click.argument("name")
@base_option
@length_option
@json_option
def check(name: str, base: str | None, max_length: int, as_json: bool) -> None:
    """The twelve silent mistakes, looked for in a dataset with a base; the default base when none is named."""
    from hub import open_registry
    from medley.corpus import read_report, read_rows
    from medley.corpus.checks import check_dataset

    registry = open_registry()
    folder = registry.get(name, kind="dataset").path
    rows = read_rows(folder, "train")
    found = check_dataset(read_report(folder), rows, tokenizer_of(registry, base), max_length=max_length)
    if as_json:
        print_json([each.to_json() for each in found])
        return
    print_table(["", "mistake", "state", "found"],
                [(each.mistake.number, each.mistake.name, each.state, each.text) for each in found])  # fmt: skip


def tokenizer_of(registry: "Registry", base: str | None) -> "PreTrainedTokenizerBase":
    """The tokenizer of a base; of the default one when none is named."""
    from medley.jobs.artifacts import base_folder, find_base
    from medley.lm.load import load_tokenizer

    return load_tokenizer(base_folder(registry, find_base(registry, base)))

"""`medley fold`: a base with an adapter or a blend folded in, as a full model; with --dry-run only the preflight."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medley.cli.dry_run import dry_run_option
from medley.cli.follow import background_option, submit
from medley.cli.merge import parse_input
from medley.cli.output import base_text, json_option, print_facts, print_json, print_table, size_text
from medley.errors import ParameterError, ProblemsError

if TYPE_CHECKING:
    from medley.jobs.build_fold import FoldSetup

DTYPES = ("float32", "float16", "bfloat16")
SIZE = re.compile(r"([0-9.]+) ?(B|kB|MB|GB|TB)", re.IGNORECASE)
UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


@click.command()
@click.argument("arguments", metavar="NAME[=WEIGHT]… [OUT]", nargs=-1, required=True)
@click.option("--name", help="Register the model under this name; OUT may then be left out.")
@click.option("--dtype", type=click.Choice(DTYPES), help="Number type of the model; the base's when not given.")
@click.option("--shard-size", default="5GB", help="Largest weights file, such as 500MB. Default 5GB.")
@click.option("--untie", is_flag=True, help="Give the output layer weights of its own where an adapter needs it.")
@dry_run_option
@background_option
@json_option
def fold(
    arguments: tuple[str, ...],
    name: str | None,
    dtype: str | None,
    shard_size: str,
    untie: bool,
    dry_run: bool,
    background: bool,
    as_json: bool,
) -> None:
    """Fold an adapter into its base and write the full model to the new folder OUT.

    Several adapters of one base are summed by their weights: medley fold a=0.6 b=0.4 OUT. With --name, OUT may be left
    out; where it is given, it begins with ./, / or ~.
    """
    from hub import open_registry
    from medley.jobs import fold_spec, set_up_fold

    blend, out = split_arguments(arguments, is_registered=name is not None)
    shard_bytes = parse_size(shard_size)
    registry = open_registry()
    if dry_run:
        report(set_up_fold(registry, blend, out=out, dtype=dtype, untie=untie), as_json=as_json)
        return
    spec = fold_spec(registry, blend, out=out, name=name, dtype=dtype, shard_bytes=shard_bytes, untie=untie)
    submit(spec, in_background=background, as_json=as_json)
    if out is not None and not (background or as_json):
        click.echo(f"Wrote {out}.")


def split_arguments(arguments: tuple[str, ...], *, is_registered: bool) -> tuple[list[tuple[str, float]], Path | None]:
    """The adapters with their weights (1 where none is given), and the folder that the model goes to.

    Raises:
        ParameterError: a weight that is no number.
        click.UsageError: no adapter, or no place for the result.
    """
    from medley.jobs.bases import local_path, looks_like_path

    last = arguments[-1]
    is_adapter = os.path.isfile(os.path.join(last, "adapter_config.json"))
    out = None
    if not is_adapter and (not is_registered or looks_like_path(last)):
        out, arguments = local_path(last), arguments[:-1]
    if not arguments or (out is None and not is_registered):
        raise click.UsageError("Give at least one adapter and the folder OUT, or --name.")
    parsed = [parse_input(text) for text in arguments]
    return [(ref, 1.0 if weight is None else weight) for ref, weight in parsed], out


def parse_size(text: str) -> int:
    """`500MB` in bytes.

    Raises:
        ParameterError: it is no size, or nothing.
    """
    match = SIZE.fullmatch(text.strip())
    try:
        size = int(float(match[1]) * UNITS[match[2].lower()]) if match else 0
    except ValueError:
        size = 0
    if size < 1:
        raise ParameterError(f"A size is a number and B, kB, MB, GB or TB, such as 500MB, got {text!a}.")
    return size


def report(setup: "FoldSetup", *, as_json: bool) -> None:
    """What a fold would do; problems end the program with 1, all of them at once.

    Raises:
        ProblemsError: the fold would be refused.
    """
    found = setup.findings
    warnings = [*setup.warnings, *found.warnings, *([] if setup.was_seen else [NOT_SEEN])]
    if as_json:
        print_json({"base": setup.base.label, **found.to_mapping(), "warnings": warnings})
    else:
        for warning in warnings:
            click.echo(f"Warning: {warning}")
        rows = [(adapter.label, f"{weight:g}", base_text(adapter.base)) for adapter, weight in setup.adapters]
        print_table(["input", "weight", "base"], rows)
    if found.problems:
        raise ProblemsError("the fold", found.problems)
    if as_json:
        return
    if setup.was_seen:
        facts = found.to_mapping()
        click.echo()
        print_facts(
            {
                "base": setup.base.label,
                "tensors": f"{facts['tensors']}, of which {facts['changed']} change",
                "parameters": f"{facts['parameters']:,}",
                "dtype": facts["dtype"],
                "size on disk": size_text(facts["estimated_bytes"]),
            }
        )
    click.echo("\nNothing stands in the way of this fold.")


NOT_SEEN = "The base cannot be looked at yet; the job compares shapes before it downloads any weights."

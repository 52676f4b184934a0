"""The flag for a dry run, and what one of a conversion or an extraction shows."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from medley.cli.output import print_facts, print_json, size_text
from medley.errors import ProblemsError

if TYPE_CHECKING:
    from merging.converting.check import ConvertPreflight
    from merging.extracting.check import ExtractPreflight

dry_run_option = click.option("--dry-run", is_flag=True, help="Only check and estimate; nothing is written.")


def show_findings(
    found: "ConvertPreflight | ExtractPreflight | None",
    noun: str,
    *,
    inputs: Mapping[str, str | None],
    facts: Callable[[], Mapping[str, object]],
    warnings: Sequence[str],
    as_json: bool,
) -> None:
    """Print a preflight; problems end the program with 1, all of them at once.

    Args:
        found: None where the inputs cannot be looked at yet.
        noun: what a dry run is of, for example "conversion".
        inputs: what goes in, by its role.
        facts: gives what else people are shown; asked for where there are no problems.

    Raises:
        ProblemsError: it would be refused.
    """
    if as_json:
        print_json({**inputs, **(found.to_mapping() if found else {"problems": []}), "warnings": list(warnings)})
    else:
        for warning in warnings:
            click.echo(f"Warning: {warning}")
    if found is None:
        return
    if found.problems:
        raise ProblemsError(f"the {noun}", found.problems)
    if not as_json:
        size = {
            "largest rank": max(found.rank_plan.values(), default=0),
            "dtype": found.dtype,
            "at most": size_text(found.estimated_bytes),
        }
        print_facts({**inputs, **facts(), **size})
        click.echo(f"\nNothing stands in the way of this {noun}.")

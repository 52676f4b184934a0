"""`medley convert`: an adapter of another kind as a plain LoRA; with --dry-run only the preflight."""

from typing import TYPE_CHECKING, Any

import click

from medley.cli.flags import flags_from, given
from medley.cli.follow import submit
from medley.cli.output import json_option, print_facts, print_json, size_text
from medley.errors import ProblemsError
from merging.converting.options import ConvertOptions

if TYPE_CHECKING:
    from medley.jobs.build_convert import ConvertPlan


@click.command()
@click.argument("adapter", metavar="NAME")
@click.option("--to", "kind", type=click.Choice(["lora"]), default="lora", help="What to make. Default lora.")
@click.option("--name", help="Name of the new adapter; a dry run needs none.")
@click.option("--dry-run", is_flag=True, help="Only check and estimate; nothing is written.")
@click.option("--background", is_flag=True, help="Return at once; the job goes on.")
@json_option
@flags_from(ConvertOptions)
def convert(
    adapter: str,
    kind: str,
    name: str | None,
    dry_run: bool,
    background: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a plain LoRA that does what the adapter NAME does, and say how much of its delta it misses.

    LoHa, LoKr, AdaLoRA, VeRA and rsLoRA come out exactly. The deltas of DoRA, IA3 and OFT depend on the
    base's weights and have full rank: they are cut to --rank.
    """
    from hub import open_registry
    from medley.jobs import convert_spec, plan_convert

    registry = open_registry()
    if dry_run:
        report(plan_convert(registry, adapter, options=given(options)), as_json=as_json)
        return
    if name is None:
        raise click.UsageError("Missing option '--name'.")
    spec = convert_spec(registry, adapter, name=name, options=given(options))
    job = submit(spec, in_background=background, as_json=as_json)
    if not (background or as_json):
        missed = registry.get(f"sha256:{job.result}").metadata["metrics"]["error"]
        click.echo(f"It misses {missed:.2%} of the delta; merge_report.json says it for each module.")


def report(plan: "ConvertPlan", *, as_json: bool) -> None:
    """What a conversion would do; problems end the program with 1, all of them at once.

    Raises:
        ProblemsError: the conversion would be refused.
    """
    found = plan.findings
    facts = {"adapter": plan.adapter.label, "base": plan.base.label if plan.base else plan.adapter.base}
    warnings = [*plan.warnings, *([] if found else [NOT_SEEN])]
    if as_json:
        print_json({**facts, **(found.to_mapping() if found else {"problems": []}), "warnings": warnings})
    else:
        for warning in warnings:
            click.echo(f"Warning: {warning}")
    if found is not None and not (found.problems or as_json):
        print_facts(
            {
                **facts,
                "kind": found.kind.word,
                "modules": len(found.modules),
                "largest rank": max(found.rank_plan.values(), default=0),
                "dtype": found.dtype,
                "at most": size_text(found.estimated_bytes),
            }
        )
    if found is not None and found.problems:
        raise ProblemsError("the conversion", found.problems)
    if found is not None and not as_json:
        click.echo("\nNothing stands in the way of this conversion.")


NOT_SEEN = "The base cannot be looked at yet; the job compares shapes before it downloads any weights."

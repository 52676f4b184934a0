"""`medley convert`: an adapter of another kind as a plain LoRA; with --dry-run only the preflight."""

from typing import TYPE_CHECKING, Any

import click

from medley.cli.dry_run import dry_run_option, show_findings
from medley.cli.flags import flags_from, given
from medley.cli.follow import background_option, submit
from medley.cli.output import json_option
from merging.converting.options import ConvertOptions

if TYPE_CHECKING:
    from medley.jobs.build_convert import ConvertPlan


@click.command()
@click.argument("adapter", metavar="NAME")
@click.option("--to", "kind", type=click.Choice(["lora"]), default="lora", help="What to make. Default lora.")
@click.option("--name", help="Name of the new adapter; a dry run needs none.")
@dry_run_option
@background_option
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
    show_findings(
        found,
        "conversion",
        inputs={"adapter": plan.adapter.label, "base": plan.base.label if plan.base else plan.adapter.base},
        facts=lambda: {"kind": found.kind.word, "modules": len(found.modules)},
        warnings=[*plan.warnings, *([] if found else [NOT_SEEN])],
        as_json=as_json,
    )


NOT_SEEN = "The base cannot be looked at yet; the job compares shapes before it downloads any weights."

"""`medley extract`: an adapter from the difference of two full models; with --dry-run only the preflight."""

from typing import TYPE_CHECKING, Any

import click

from medley.cli.dry_run import dry_run_option, show_findings
from medley.cli.flags import flags_from, given
from medley.cli.follow import background_option, submit
from medley.cli.output import count_of, json_option
from merging.extracting.options import ExtractOptions

if TYPE_CHECKING:
    from medley.jobs.build_extract import ExtractPlan


@click.command()
@click.argument("model")
@click.option("--base", help="Registered base; that of a registered model, or the bundled one, when not given.")
@click.option("--name", help="Name of the new adapter; a dry run needs none.")
@dry_run_option
@background_option
@json_option
@flags_from(ExtractOptions)
def extract(
    model: str,
    base: str | None,
    name: str | None,
    dry_run: bool,
    background: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make an adapter that turns the base into MODEL, and say how much of the difference it misses.

    MODEL is a folder, a registered model or base, or a Hub id.
    """
    from hub import open_registry
    from medley.jobs import extract_spec, plan_extract

    registry = open_registry()
    if dry_run:
        report(plan_extract(registry, model, base=base, options=given(options)), as_json=as_json)
        return
    if name is None:
        raise click.UsageError("Missing option '--name'.")
    spec = extract_spec(registry, model, base=base, name=name, options=given(options))
    job = submit(spec, in_background=background, as_json=as_json)
    if not (background or as_json):
        missed = registry.get(f"sha256:{job.result}").metadata["metrics"]["error"]
        click.echo(f"It misses {missed:.2%} of the difference; merge_report.json says it for each module.")


def report(plan: "ExtractPlan", *, as_json: bool) -> None:
    """What an extraction would do; problems end the program with 1, all of them at once.

    Raises:
        ProblemsError: the extraction would be refused.
    """
    found = plan.findings
    show_findings(
        found,
        "extraction",
        inputs={"base": plan.base.label, "model": plan.model.label},
        facts=lambda: {
            "linear weights": len(found.linears),
            "others": f"{count_of(len(found.others), 'tensor')}, {plan.options.others} if changed",
        },
        warnings=[*plan.warnings, *(found.warnings if found else [NOT_AT_HAND])],
        as_json=as_json,
    )


NOT_AT_HAND = "Not both models can be looked at yet; the job compares them before it downloads any weights."

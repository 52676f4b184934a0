"""`medley demo`: the whole loop, unattended, with a progress bar for each step and a table at the end."""

import click

from medley.cli.follow import follow, must_be_done
from medley.cli.output import json_option, print_json, print_table
from medley.cli.progress import progress_bar
from medley.cli.publish import plan_json, show_plan


@click.command()
@json_option
def demo(as_json: bool) -> None:
    """Import two datasets, train two adapters, merge them four ways, compare, dry-run a push."""
    from hub import open_registry
    from medley.jobs import JobSpec, open_jobs
    from medley.jobs.demo import compare_artifacts, make_artifacts

    registry, jobs = open_registry(), open_jobs()

    def run(spec: JobSpec) -> str:
        job = jobs.submit(spec)
        click.echo(f"Job {job.id}: {job.title}", err=True)
        ended = follow(jobs, job)
        must_be_done(ended)
        return str(ended.result)

    make_artifacts(registry, run)
    with progress_bar("Comparing") as emit:
        result = compare_artifacts(registry, emit)
    if as_json:
        print_json({"behaviours": result.table, "kept": result.kept, "plan": plan_json(result.plan)})
        return
    behaviours = list(next(iter(result.table.values())))
    click.echo("\nAnswers to held-out prompts that show each behaviour\n")
    print_table(
        ["pane", *behaviours],
        [(pane, *(f"{row[each]:.0%}" for each in behaviours)) for pane, row in result.table.items()],
    )
    click.echo("\nWhat each merge kept of what its parents had learned\n")
    print_table(
        ["merge", *behaviours],
        [(name, *(f"{row[each]:.0%}" for each in behaviours)) for name, row in result.kept.items()],
    )
    click.echo("\nWhat `medley push demo-ties` would upload; nothing was sent\n")
    show_plan(result.plan)
    click.echo("\nNext: medley app, or medley chat base demo-pirate demo-tidy demo-ties")

"""`medley job …`: what runs, what ran, its log, and stopping or retrying it."""

import time

import click

from medley.cli.follow import follow, job_json
from medley.cli.output import age_text, json_option, print_facts, print_json, print_table, time_text


@click.group()
def job() -> None:
    """Long work: list, show, logs, stop, retry."""


@job.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="Newest jobs shown.")
@json_option
def list_jobs(limit: int, as_json: bool) -> None:
    """The newest jobs first."""
    from medley.jobs import open_jobs

    found = open_jobs().list(limit=limit)
    if as_json:
        print_json([job_json(each) for each in found])
    elif not found:
        click.echo("No jobs yet.", err=True)
    else:
        rows = [(each.id, each.state, each.kind, each.title, age_text(each.created)) for each in found]
        print_table(["id", "state", "kind", "title", "created"], rows)


@job.command()
@click.argument("job_id", metavar="ID")
@json_option
def show(job_id: str, as_json: bool) -> None:
    """State, times, result and place of a job."""
    from medley.jobs import open_jobs

    found = open_jobs().get(job_id)
    if as_json:
        print_json(job_json(found))
        return
    print_facts(
        {
            "job": found.id,
            "state": found.state,
            "what": found.title,
            "created": time_text(found.created),
            "started": time_text(found.started) if found.started else None,
            "finished": time_text(found.finished) if found.finished else None,
            "result": found.result and f"{found.output_name} (sha256:{found.result[:8]})",
            "error": found.error,
            "resumed from": found.resumed_from,
            "folder": found.folder,
        }
    )


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", "keep_following", is_flag=True, help="Stay until the job ends.")
def logs(job_id: str, keep_following: bool) -> None:
    """The job's log; with -f its progress until it ends."""
    from medley.jobs import open_jobs

    jobs = open_jobs()
    found = jobs.get(job_id)
    if keep_following:
        ended = follow(jobs, found)
        click.echo(f"Job {ended.id} is {ended.state}." + (f" {ended.error}" if ended.error else ""))
        return
    click.echo(jobs.log_tail(found.id, lines=200))


@job.command()
@click.argument("job_id", metavar="ID")
def stop(job_id: str) -> None:
    """End a job; a training keeps its last checkpoint."""
    from medley.jobs import open_jobs

    jobs = open_jobs()
    jobs.stop(job_id)
    time.sleep(0.2)
    click.echo(f"Job {job_id} is {jobs.get(job_id).state}.")


@job.command()
@click.argument("job_id", metavar="ID")
@json_option
def retry(job_id: str, as_json: bool) -> None:
    """Run it again as a new job, a training from its last checkpoint."""
    from medley.jobs import open_jobs

    again = open_jobs().retry(job_id)
    if as_json:
        print_json(job_json(again))
        return
    click.echo(f"Job {again.id} is {again.state}. Follow it: medley job logs {again.id} -f")

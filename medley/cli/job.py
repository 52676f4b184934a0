"""`medley job …`: what runs, what ran, its log, stopping or retrying it, and two runs side by side."""

from dataclasses import asdict

import click

from medley.cli.follow import follow, job_json, report_start
from medley.cli.output import age_text, json_option, print_facts, print_json, print_table, time_text

LOG_LINES = 200


@click.group()
def job() -> None:
    """Long work: list, show, logs, stop, retry, compare."""


@job.command("list")
@click.option("--limit", default=50, type=click.IntRange(min=1), help="Newest jobs shown. Default 50.")
@click.option("--all", "show_all", is_flag=True, help="Show every job.")
@json_option
def list_jobs(limit: int, show_all: bool, as_json: bool) -> None:
    """The newest jobs first."""
    from medley.jobs import open_jobs

    found = open_jobs().list(limit=None if show_all else limit)
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
            "tracker's files": found.tracking_dir if found.tracking_dir.is_dir() else None,
        }
    )


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", "keep_following", is_flag=True, help="Stay until the job ends.")
def logs(job_id: str, keep_following: bool) -> None:
    """The last lines of the job's log; with -f its progress until it ends."""
    from medley.jobs import open_jobs

    jobs = open_jobs()
    found = jobs.get(job_id)
    if keep_following:
        ended = follow(jobs, found)
        click.echo(f"Job {ended.id} is {ended.state}." + (f" {ended.error}" if ended.error else ""))
        return
    log = jobs.log_tail(found.id, lines=LOG_LINES)
    if log:
        click.echo(log)
    else:
        click.echo(f"Job {found.id} is {found.state} and has printed nothing.", err=True)


@job.command()
@click.argument("job_id", metavar="ID")
def stop(job_id: str) -> None:
    """End a job; a training keeps its last checkpoint."""
    from medley.jobs import open_jobs

    stopped = open_jobs().stop(job_id)
    click.echo(f"Job {stopped.id} is {stopped.state}.")


@job.command()
@click.argument("job_id", metavar="ID")
@json_option
def retry(job_id: str, as_json: bool) -> None:
    """Run it again as a new job, a training from its last checkpoint."""
    from medley.jobs import open_jobs

    report_start(open_jobs().retry(job_id), as_json=as_json)


@job.command()
@click.argument("first", metavar="ID")
@click.argument("second", metavar="ID")
@json_option
def compare(first: str, second: str, as_json: bool) -> None:
    """Two trainings side by side: settings that differ, and the last of every curve."""
    from medley.jobs import compare_runs, open_jobs

    found = compare_runs(open_jobs(), first, second)
    if as_json:
        print_json(asdict(found))
        return
    differing = [(name, *map(_setting_text, pair)) for name, pair in found.differences.items()]
    print_table(["setting", *found.runs], differing or [("(none differs)", "", "")])
    click.echo()
    measured = [(name, *map(_number_text, pair)) for name, pair in found.finals.items()]
    print_table(["last measured", *found.runs], measured or [("(nothing yet)", "", "")])


def _setting_text(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _number_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"

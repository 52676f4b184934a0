"""A job followed in the terminal: a progress bar with time left, the newest numbers, and what Ctrl-C should mean."""

import sys
from typing import TYPE_CHECKING, Any

import click

from medley.cli.output import print_json
from medley.errors import JobError

if TYPE_CHECKING:
    from medley.jobs import Job, Jobs, JobSpec

SHOWN_METRICS = ("loss", "eval_loss")


def submit(spec: "JobSpec", *, in_background: bool, as_json: bool) -> None:
    """Queue a job and report it: at once with `in_background`, else when it has ended.

    Raises:
        JobError: the job did not reach its end.
    """
    from medley.jobs import open_jobs

    jobs = open_jobs()
    job = jobs.submit(spec)
    if in_background:
        if as_json:
            print_json(job_json(job))
        else:
            click.echo(f"Job {job.id} is {job.state}. Follow it: medley job logs {job.id} -f")
        return
    ended = follow(jobs, job, is_quiet=as_json)
    if as_json:
        print_json(job_json(ended))
    if ended.state == "running":
        click.echo(f"Job {job.id} goes on. Follow it: medley job logs {job.id} -f", err=True)
    elif ended.state != "done":
        raise JobError(ended.error or f"Job {ended.id} is {ended.state}. Its log: medley job logs {ended.id}")
    elif not as_json:
        click.echo(f"Done: {ended.output_name} (sha256:{(ended.result or '')[:8]}).")


def job_json(job: "Job") -> dict[str, Any]:
    """What `--json` prints of a job."""
    names = ("id", "kind", "title", "lane", "state", "created", "started", "finished", "error", "result", "output_name")
    return {**{name: getattr(job, name) for name in names}, "resumed_from": job.resumed_from, "folder": str(job.folder)}


def follow(jobs: "Jobs", job: "Job", *, is_quiet: bool = False) -> "Job":
    """Show a job's events until it ends; returns it as it then is (still running if the user left it so)."""
    try:
        if is_quiet:
            return jobs.wait(job.id)
        return _follow_with_bar(jobs, job)
    except KeyboardInterrupt:
        if sys.stdin.isatty() and click.confirm("\nStop the job? (No leaves it running.)", default=False):
            jobs.stop(job.id)
            return jobs.wait(job.id)
        return jobs.get(job.id)


def _follow_with_bar(jobs: "Jobs", job: "Job") -> "Job":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from medley.jobs.follow import follow_job

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(job.title, total=None, numbers="")
        numbers: dict[str, float] = {}
        for event in follow_job(jobs, job.id):
            if event["kind"] == "progress":
                description = event.get("text") or job.title
                progress.update(bar, completed=event["step"], total=event["total"] or None, description=description)
            elif event["kind"] == "metric":
                numbers |= {name: event[name] for name in SHOWN_METRICS if event.get(name) is not None}
                shown = "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
                progress.update(bar, numbers=shown)
            elif event["kind"] in {"warning", "error"}:
                console.print(f"{event['kind'].capitalize()}: {event['text']}", markup=False, highlight=False)
    return jobs.get(job.id)

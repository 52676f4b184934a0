"""A job followed in the terminal: a progress bar with time left, the newest numbers, and what Ctrl-C should mean."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from medley.cli.output import print_json
from medley.errors import JobError

if TYPE_CHECKING:
    from medley.jobs import Job, Jobs, JobSpec

SHOWN_METRICS = {  # the few numbers that tell how each trainer goes -> what stands before them
    "loss": "loss",
    "eval_loss": "eval_loss",
    "objective/scores": "score",
    "objective/gold": "gold",
    "reward": "reward",
    "objective/kl": "KL",
    "kl": "KL",
    "rewards/accuracies": "accuracy",
    "accuracy": "accuracy",
    "eval_rewards/accuracies": "eval_accuracy",
    "eval_accuracy": "eval_accuracy",
}


background_option = click.option("--background", is_flag=True, help="Return at once; the job goes on.")


def submit(spec: "JobSpec", *, in_background: bool, as_json: bool) -> "Job":
    """Queue a job and report it: at once with `in_background`, else when it has ended. The job as it then is.

    Raises:
        JobError: the job did not reach its end.
    """
    from medley.jobs import open_jobs

    jobs = open_jobs()
    job = jobs.submit(spec)
    if in_background:
        for warning in spec.params.get("warnings", ()):  # who follows the job hears them from it
            click.echo(f"Warning: {warning}", err=True)
        report_start(job, as_json=as_json)
        return job
    click.echo(f"Job {job.id}: {job.title}", err=True)
    ended = follow(jobs, job)
    if as_json:
        print_json(job_json(ended))
    must_be_done(ended)
    if not as_json:
        click.echo(f"Done: {ended.output_name} (sha256:{ended.result[:8]})." if ended.result else "Done.")
    return ended


def report_start(job: "Job", *, as_json: bool) -> None:
    """What to say of a job that goes on by itself."""
    if as_json:
        print_json(job_json(job))
    else:
        click.echo(f"Job {job.id} is {job.state}. {_how_to_follow(job)}")


def must_be_done(job: "Job") -> None:
    """Nothing, if the job has reached its end.

    Raises:
        click.Abort: the user left it running; what a script would do next needs the result.
        JobError: it failed, was stopped, or got lost.
    """
    if not job.is_finished:
        click.echo(f"Job {job.id} goes on. {_how_to_follow(job)}", err=True)
        raise click.Abort
    if job.state != "done":
        raise JobError(job.error or f"Job {job.id} was {job.state}. Go on with it: medley job retry {job.id}")


def _how_to_follow(job: "Job") -> str:
    return f"Follow it: medley job logs {job.id} -f"


def job_json(job: "Job") -> dict[str, Any]:
    """What `--json` prints of a job."""
    names = ("id", "kind", "title", "lane", "state", "created", "started", "finished", "error", "result", "output_name")
    return {**{name: getattr(job, name) for name in names}, "resumed_from": job.resumed_from, "folder": str(job.folder)}


def follow(jobs: "Jobs", job: "Job") -> "Job":
    """Show a job's events until it ends; returns it as it then is (not finished if the user left it running)."""
    try:
        return _follow_with_bar(jobs, job)
    except KeyboardInterrupt:
        if sys.stdin.isatty() and click.confirm("\nStop the job? (No leaves it running.)", default=False, err=True):
            jobs.stop(job.id)
            return jobs.wait(job.id)
        return jobs.get(job.id)


def _follow_with_bar(jobs: "Jobs", job: "Job") -> "Job":
    from medley.cli.progress import open_bar, show_event
    from medley.jobs import follow_job

    numbers: dict[str, float] = {}
    with open_bar(job.title) as bar:
        for event in follow_job(jobs, job.id):
            show_event(bar, event["kind"], event)
            if event["kind"] == "metric":
                numbers |= numbers_of(event)
                shown = "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
                bar.update(bar.task_ids[0], numbers=shown)
    return jobs.get(job.id)


def numbers_of(event: Mapping[str, Any]) -> dict[str, float]:
    """What the bar shows of a metric event, in short words."""
    return {word: event[name] for name, word in SHOWN_METRICS.items() if event.get(name) is not None}

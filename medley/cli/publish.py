"""`medley push` and `medley pull`: the way to the Hugging Face Hub and back."""

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import click

from medley.cli.output import base_text, json_option, print_json, print_table, size_text
from medley.cli.progress import print_steps
from medley.cli.versions import as_json_row
from medley.errors import HubError

if TYPE_CHECKING:
    from hub import Registry, Version
    from hub.plan import PushPlan

KINDS = ("adapter", "model", "dataset")


@click.command()
@click.argument("name")
@click.option("--to", "repo_id", required=True, metavar="ORG/REPO", help="Repository on the Hub; made when absent.")
@click.option("--private", is_flag=True, help="Only you and your organisation can see it.")
@click.option("--dry-run", is_flag=True, help="Show what would be uploaded; nothing leaves this machine.")
@json_option
def push(name: str, repo_id: str, private: bool, dry_run: bool, as_json: bool) -> None:
    """Publish an adapter, a model or a dataset with a written card, as one commit.

    The token is read from HF_TOKEN and never stored.
    """
    from hub import open_registry
    from hub.plan import plan_push

    registry = open_registry()
    plan = plan_push(registry, name, repo_id, private=private)
    if not as_json:
        show_plan(plan)
    elif dry_run or plan.refusals:
        print_json(plan_json(plan))
    plan.require_ok()
    if not dry_run:
        _publish(registry, plan, as_json=as_json)
    elif not as_json:
        click.echo("\nA dry run: nothing was sent.")


def _publish(registry: "Registry", plan: "PushPlan", *, as_json: bool) -> None:
    from hub.push import push as run_push

    result = run_push(registry, plan, token=_token(), emit=print_steps())
    if as_json:
        print_json({**plan_json(plan), **dataclasses.asdict(result)})
        return
    click.echo(f"\nPublished {result.url} at {result.commit[:8]}, tagged {result.tag}; every file was checked.")


@click.command()
@click.argument("repo_id", metavar="ORG/REPO")
@click.option("--name", required=True, help="Name in the registry.")
@click.option("--kind", type=click.Choice(KINDS), help="What the repo is; told from its files when not given.")
@click.option("--revision", help="Branch, tag or commit; the commit behind it is recorded.")
@click.option("--base", help="Base that an adapter belongs to, when its config names a path.")
@json_option
def pull(repo_id: str, name: str, kind: str | None, revision: str | None, base: str | None, as_json: bool) -> None:
    """Bring an adapter, a model or a dataset from the Hub into the registry, checked like any import."""
    from hub import open_registry
    from medley.jobs.artifacts import base_identity
    from medley.jobs.pull import pull as run_pull

    registry = open_registry()
    hub_id, base_revision = base_identity(registry, base) if base else (None, None)
    version = run_pull(
        registry,
        repo_id,
        name,
        kind=kind,
        revision=revision,
        token=os.environ.get("HF_TOKEN") or False,
        base=hub_id,
        base_revision=base_revision,
        emit=print_steps(),
    )
    if as_json:
        print_json(as_json_row(version))
        return
    click.echo(f"Pulled {version.label} (sha256:{version.id[:8]}), {_what_it_is(version)}.")


def _what_it_is(version: "Version") -> str:
    """The end of the sentence about what was pulled."""
    about = version.metadata
    if version.kind == "dataset":
        return f"a dataset of {about['rows']:,} rows"
    base = f"base {base_text(version.base, version.base_revision)}" if version.base else "base unknown"
    return base if version.kind == "adapter" else f"a model of {about['parameters']:,} parameters, {base}"


def show_plan(plan: "PushPlan") -> None:
    """The exact files, and what was checked."""
    click.echo(f"{plan.repo_id} ({plan.visibility})\n")
    print_table(["file", "size", "sha256"], [(path, size_text(size), digest[:8]) for path, size, digest in plan.files])
    click.echo()
    print_table(["check", "state", "what it says"], plan.checks)


def plan_json(plan: "PushPlan") -> dict[str, Any]:
    """What `--json` prints of a plan."""
    return {
        "repo_id": plan.repo_id,
        "visibility": plan.visibility,
        "files": [{"path": path, "size_bytes": size, "sha256": digest} for path, size, digest in plan.files],
        "checks": [{"check": check, "state": state, "text": text} for check, state, text in plan.checks],
        "card": plan.card,
    }


def _token() -> str:
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise HubError(
            "Publishing needs a token with write access: create one at huggingface.co/settings/tokens "
            "and set HF_TOKEN for this command."
        )
    return token

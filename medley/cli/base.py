"""`medley base …`: the models that adapters are trained on."""

import click

from medley.cli.output import base_text, json_option, print_facts, print_json
from medley.cli.versions import as_json_row, print_versions


@click.group()
def base() -> None:
    """Base models: list, show, add."""


@base.command("list")
@click.option("--limit", default=50, type=click.IntRange(min=1), help="Newest names shown. Default 50.")
@click.option("--all", "show_all", is_flag=True, help="Show every name.")
@json_option
def list_bases(limit: int, show_all: bool, as_json: bool) -> None:
    """The bases that were added or used; the bundled one appears at its first use."""
    print_versions("base", limit=None if show_all else limit, as_json=as_json)


@base.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Where a base comes from and what it is."""
    from hub import open_registry
    from medley.jobs.artifacts import find_base

    version = find_base(open_registry(), name)
    if as_json:
        print_json({**as_json_row(version), "base_revision": version.base_revision, "metadata": version.metadata})
        return
    facts = version.metadata
    parameters = facts.get("parameters")
    print_facts(
        {
            "base": version.label,
            "id": f"sha256:{version.id}",
            "model": base_text(version.base),
            "revision": version.base_revision,
            "source": facts.get("source"),
            "folder": facts.get("folder"),
            "architecture": facts.get("architecture"),
            "parameters": f"{parameters:,}" if parameters else None,
            "note": facts.get("note"),
        }
    )


@base.command()
@click.argument("source", metavar="HUB_ID_OR_PATH")
@click.option("--name", help="Name in the registry; made from the source when not given.")
@click.option("--revision", help="Branch, tag or commit on the Hub; the commit behind it is recorded.")
@click.option("--hub-id", help="Of a folder: the model on the Hub that it is a copy of, at --revision.")
@json_option
def add(source: str, name: str | None, revision: str | None, hub_id: str | None, as_json: bool) -> None:
    """Record a base: a Hub id (downloaded when first used) or a local folder."""
    from hub import open_registry
    from medley.jobs.artifacts import add_base

    version = add_base(open_registry(), source, name, revision, hub_id=hub_id)
    if as_json:
        print_json(as_json_row(version))
        return
    click.echo(f"Added base {version.label} ({base_text(version.base, version.base_revision)}).")

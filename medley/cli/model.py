"""`medley model …`: full models that were merged, folded or taken in, and where they came from."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medley.cli.output import age_text, base_text, json_option, print_json, size_text, time_text
from medley.cli.version_commands import add_version_commands
from medley.cli.versions import as_json_row, parents_text, print_version, version_json

if TYPE_CHECKING:
    from hub import Registry, Version


@click.group()
def model() -> None:
    """Full models: list, show, import, export, verify, alias, lineage, rm."""


@model.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """What a model is, what it was made from and how."""
    from hub import open_registry

    registry = open_registry()
    version = registry.get(name, kind="model")
    if as_json:
        print_json(version_json(registry, version))
    else:
        show_version(registry, version)


def show_version(registry: "Registry", version: "Version") -> None:
    """What the registry knows of it: facts, measurements and the recipe that made it."""
    facts = version.metadata
    print_version(
        version,
        {
            "model": version.label,
            "id": f"sha256:{version.id}",
            "base": base_text(version.base, version.base_revision),
            "aliases": version.aliases,
            "made by": facts.get("trainer"),
            "method": facts.get("method"),
            "paper": facts.get("paper"),
            "architecture": facts.get("architecture"),
            "parameters": f"{facts['parameters']:,}" if facts.get("parameters") else None,
            "dtype": facts.get("dtype"),
            "size": size_text(version.size_bytes),
            "licence": facts.get("licence"),
            "created": f"{time_text(version.created)} ({age_text(version.created)})",
            "parents": parents_text(registry, version),
            "notes": facts.get("notes"),
        },
    )


@model.command("import")
@click.argument("source", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name in the registry.")
@click.option("--base", help="Base that it was made from: a registered one, or a Hub id.")
@json_option
def import_(source: Path, name: str, base: str | None, as_json: bool) -> None:
    """Check a model FOLDER and copy it into the registry."""
    from hub import open_registry
    from hub.intake_model import import_model
    from medley.jobs.artifacts import base_identity
    from medley.jobs.model_facts import model_facts

    registry = open_registry()
    hub_id, revision = base_identity(registry, base) if base else (None, None)
    version, left_out = import_model(registry, source, name, base=hub_id, base_revision=revision, describe=model_facts)
    if as_json:
        print_json({**as_json_row(version), "left_out": list(left_out)})
        return
    facts = version.metadata
    click.echo(f"Imported {version.label} (sha256:{version.id[:8]}), a model of {facts['parameters']:,} parameters.")
    if left_out:
        click.echo(f"Left out: {', '.join(left_out)}.")


@model.command()
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
def export(name: str, out: Path) -> None:
    """Copy a model to a new folder, or to a .zip."""
    from hub import open_registry
    from hub.export import export_version

    click.echo(f"Wrote {export_version(open_registry(), name, out, kind='model')}.")


add_version_commands(model, "model", example="chef")

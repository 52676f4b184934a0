"""`medley model …`: full models that were merged, folded or taken in, and where they came from."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medley.cli.output import age_text, base_text, json_option, print_json, size_text, time_text
from medley.cli.version_commands import add_version_commands
from medley.cli.versions import parents_text, print_version, version_json

if TYPE_CHECKING:
    from hub import Registry, Version


@click.group()
def model() -> None:
    """Full models: list, show, export, verify, alias, lineage, rm."""


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


@model.command()
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
def export(name: str, out: Path) -> None:
    """Copy a model to a new folder, or to a .zip."""
    from hub import open_registry
    from hub.export import export_version

    click.echo(f"Wrote {export_version(open_registry(), name, out, kind='model')}.")


add_version_commands(model, "model", example="chef")

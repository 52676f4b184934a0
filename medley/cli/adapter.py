"""`medley adapter …`: what adapters there are, where they came from, in and out."""

from pathlib import Path

import click

from medley.cli.output import age_text, json_option, print_facts, print_json, print_table, size_text, time_text
from medley.cli.versions import as_json_row, print_lineage, print_problems, print_versions


@click.group()
def adapter() -> None:
    """Adapters: list, show, import, export, verify, alias, lineage, rm."""


@adapter.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="Newest names shown.")
@click.option("--all", "show_all", is_flag=True, help="Show every name.")
@click.option("--search", default="", help="Only names that contain this.")
@json_option
def list_adapters(limit: int, show_all: bool, search: str, as_json: bool) -> None:
    """The newest version of each adapter, newest first."""
    print_versions("adapter", limit=None if show_all else limit, search=search, as_json=as_json)


@adapter.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """What an adapter is, where it came from and what was measured."""
    from hub import open_registry

    registry = open_registry()
    version = registry.get(name, kind="adapter")
    if as_json:
        print_json(
            {
                **as_json_row(version),
                "base_revision": version.base_revision,
                "size_bytes": version.size_bytes,
                "metadata": version.metadata,
                "recipe": version.recipe,
                "parents": [
                    {"role": role, "id": parent.id, "name": parent.label}
                    for role, parent in registry.parents(version.id)
                    if parent
                ],
                "versions": [each.number for each in registry.versions(version.name)],
                "files": sorted(path.name for path in version.path.iterdir()),
            }
        )
        return
    facts = version.metadata
    print_facts(
        {
            "adapter": version.label,
            "id": f"sha256:{version.id}",
            "base": version.base if not version.base_revision else f"{version.base} @ {version.base_revision[:8]}",
            "aliases": version.aliases,
            "made by": facts.get("trainer"),
            "method": facts.get("method"),
            "trained on": facts.get("trained_on"),
            "rank": facts.get("rank"),
            "targets": facts.get("targets"),
            "parameters": f"{facts['parameters']:,}" if "parameters" in facts else None,
            "size": size_text(version.size_bytes),
            "created": f"{time_text(version.created)} ({age_text(version.created)})",
            "parents": [f"{parent.label} ({role})" for role, parent in registry.parents(version.id) if parent],
            "notes": facts.get("notes"),
        }
    )
    if facts.get("metrics"):
        click.echo()
        print_table(["metric", "value"], [(key, f"{value:g}") for key, value in facts["metrics"].items()])
    if version.recipe:
        click.echo(f"\n{version.recipe.rstrip()}")


@adapter.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name in the registry.")
@click.option("--base", help="Base it belongs to: a registry name or a Hub id. Needed when its config names a path.")
@json_option
def import_(source: Path, name: str, base: str | None, as_json: bool) -> None:
    """Check an adapter FOLDER or ZIP and bring it into the registry."""
    from hub import open_registry
    from hub.intake import import_adapter
    from medley.jobs.artifacts import base_identity

    registry = open_registry()
    hub_id, revision = base_identity(registry, base) if base else (None, None)
    version, left_out = import_adapter(registry, source, name, base=hub_id, base_revision=revision)
    if as_json:
        print_json({**as_json_row(version), "left_out": list(left_out)})
        return
    click.echo(f"Imported {version.label} (sha256:{version.id[:8]}), base {version.base}.")
    if left_out:
        click.echo(f"Left out: {', '.join(left_out)}.")


@adapter.command()
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
def export(name: str, out: Path) -> None:
    """Copy an adapter to a new folder, or to a .zip."""
    from hub import open_registry
    from hub.export import export_adapter

    click.echo(f"Wrote {export_adapter(open_registry(), name, out)}.")


@adapter.command()
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="Check every version.")
@json_option
def verify(name: str | None, every: bool, as_json: bool) -> None:
    """Re-hash an adapter's files; exit code 1 when one is missing, changed or extra."""
    if not name and not every:
        raise click.UsageError("Give a NAME, or --all.")
    print_problems(name, as_json=as_json)


@adapter.command()
@click.argument("name")
@click.argument("alias_name", metavar="ALIAS")
@click.option("--remove", is_flag=True, help="Take the alias away.")
@click.option("--history", is_flag=True, help="Show where it has pointed.")
def alias(name: str, alias_name: str, remove: bool, history: bool) -> None:
    """Point ALIAS (for example production) at a version: medley adapter alias pirate:v3 production."""
    from hub import open_registry

    registry = open_registry()
    version = registry.get(name, kind="adapter")
    if history:
        for move in registry.alias_history(version.name, alias_name):
            target = f"v{move.number}" if move.number else "removed"
            click.echo(f"{time_text(move.moved)}  {target}")
        return
    if remove:
        registry.remove_alias(version.name, alias_name)
        click.echo(f"{version.name}:{alias_name} is gone.")
        return
    registry.set_alias(version.name, alias_name, version.number)
    click.echo(f"{version.name}:{alias_name} -> v{version.number}")


@adapter.command()
@click.argument("name")
@json_option
def lineage(name: str, as_json: bool) -> None:
    """What an adapter was made from, and what was made from it."""
    print_lineage(name, as_json=as_json)


@adapter.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Even if something was made from it or an alias points at it.")
def rm(name: str, force: bool) -> None:
    """Hide a version; `medley registry gc` deletes hidden files later."""
    from hub import open_registry

    version = open_registry().remove(name, force=force)
    click.echo(f"Hid {version.label}. `medley registry gc` frees its space.")

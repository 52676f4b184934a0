"""`medley adapter …`: what adapters there are, where they came from, in and out."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medley.cli.output import (
    age_text,
    base_text,
    json_option,
    print_facts,
    print_json,
    print_table,
    size_text,
    time_text,
)
from medley.cli.versions import as_json_row, print_lineage, print_report, print_versions

if TYPE_CHECKING:
    from hub import Registry, Version
    from medley.jobs.artifacts import FoundAdapter


@click.group()
def adapter() -> None:
    """Adapters: list, show, import, export, verify, alias, lineage, rm."""


@adapter.command("list")
@click.option("--limit", default=50, type=click.IntRange(min=1), help="Newest names shown. Default 50.")
@click.option("--all", "show_all", is_flag=True, help="Show every name.")
@click.option("--search", default="", help="Only names that contain this.")
@json_option
def list_adapters(limit: int, show_all: bool, search: str, as_json: bool) -> None:
    """The newest version of each adapter, newest first."""
    print_versions("adapter", limit=None if show_all else limit, search=search, as_json=as_json)


@adapter.command()
@click.argument("name", metavar="NAME_OR_FOLDER")
@json_option
def show(name: str, as_json: bool) -> None:
    """What an adapter is, where it came from and what was measured."""
    from hub import open_registry
    from medley.jobs.artifacts import find_adapter, means_folder

    registry = open_registry()
    if means_folder(name):
        show_folder(find_adapter(registry, name), as_json=as_json)
        return
    version = registry.get(name, kind="adapter")
    if as_json:
        print_json(version_json(registry, version))
    else:
        show_version(registry, version)


def show_version(registry: "Registry", version: "Version") -> None:
    """What the registry knows of it: facts, measurements and the recipe that made it."""
    facts = version.metadata
    print_facts(
        {
            "adapter": version.label,
            **_reward_facts(version),
            "id": f"sha256:{version.id}",
            "base": base_text(version.base, version.base_revision),
            "aliases": version.aliases,
            "made by": facts.get("trainer"),
            "reference": facts.get("reference"),
            "method": facts.get("method"),
            "paper": facts.get("paper"),
            "trained on": facts.get("trained_on"),
            **_size_facts(facts),
            "licence": facts.get("licence"),
            "created": f"{time_text(version.created)} ({age_text(version.created)})",
            "parents": [f"{parent.label} ({role})" for role, parent in registry.parents(version.id) if parent],
            "notes": facts.get("notes"),
        }
    )
    if facts.get("metrics"):
        click.echo()
        print_table(["metric", "value"], [(key, _number_text(value)) for key, value in facts["metrics"].items()])
    if version.recipe:
        click.echo(f"\n{version.recipe.rstrip()}")


def _reward_facts(version: "Version") -> dict[str, object]:
    """What a reward model is, how well it judges and how it is used; nothing for other adapters."""
    from hub.reward_words import WHAT_IT_IS, how_to_use, is_reward, judged

    if not is_reward(version.metadata):
        return {}
    return {
        "kind": WHAT_IT_IS,
        "judges": judged(version.metadata) or "not measured on held-out pairs",
        "use": how_to_use(version),
    }


def version_json(registry: "Registry", version: "Version") -> dict[str, Any]:
    """What `show --json` prints of a version."""
    return {
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
        "files": [entry.path for entry in registry.files(version.id)],
    }


def show_folder(found: "FoundAdapter", *, as_json: bool) -> None:
    """The facts of an adapter that is not in the registry, as far as its files tell."""
    from hub.reward_words import REWARD, WHAT_IT_IS
    from medley.jobs.adapter_facts import adapter_facts

    facts = adapter_facts(found.folder)
    if as_json:
        print_json(
            {
                "name": found.label,
                "kind": "adapter",
                "folder": str(found.folder),
                "weights_sha256": found.key,
                "base": found.base,
                "base_revision": found.base_revision,
                "metadata": facts,
            }
        )
        return
    print_facts(
        {
            "adapter": found.label,
            "folder": found.folder,
            "kind": WHAT_IT_IS if facts.get("adapter_kind") == REWARD else None,
            "weights": f"sha256:{found.key}",
            "base": base_text(found.base, found.base_revision),
            **_size_facts(facts),
        }
    )


def _size_facts(facts: Mapping[str, Any]) -> dict[str, object]:
    """Type, rank, targets, parameters and size on disk, as far as they are known."""
    return {
        "type": facts.get("adapter_type") or facts.get("peft_type"),
        "rank": facts.get("rank"),
        "targets": facts.get("targets"),
        "parameters": f"{facts['parameters']:,}" if facts.get("parameters") else None,
        "size": size_text(facts["size_bytes"]) if facts.get("size_bytes") else None,
    }


def _number_text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
    click.echo(
        f"Imported {version.label} (sha256:{version.id[:8]}), base {base_text(version.base, version.base_revision)}."
    )
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
@click.option("--all", "every", is_flag=True, help="Check every version of every adapter.")
@json_option
def verify(name: str | None, every: bool, as_json: bool) -> None:
    """Re-hash an adapter's files; exit code 1 when one is missing, changed or extra."""
    from hub import VerifyReport, open_registry

    if (name is None) != every:
        raise click.UsageError("Give either a NAME or --all.")
    registry = open_registry()
    if name is not None:
        ids = [registry.get(name, kind="adapter").id]
    else:
        names = [each.name for each in registry.list("adapter", limit=None)]
        ids = list(dict.fromkeys(version.id for each in names for version in registry.versions(each)))
    problems = [problem for id in ids for problem in registry.verify(id).problems]
    print_report(VerifyReport(len(ids), problems, []), as_json=as_json)


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
            click.echo(f"{time_text(move.time)}  {f'v{move.to_number}' if move.to_number else 'removed'}")
    elif remove:
        registry.remove_alias(version.name, alias_name)
        click.echo(f"{version.name}:{alias_name} is gone.")
    else:
        registry.set_alias(version.name, alias_name, version.number)
        click.echo(f"{version.name}:{alias_name} -> v{version.number}")


@adapter.command()
@click.argument("name")
@json_option
def lineage(name: str, as_json: bool) -> None:
    """What an adapter was made from, and what was made from it."""
    from hub import open_registry

    registry = open_registry()
    print_lineage(registry, registry.get(name, kind="adapter"), as_json=as_json)


@adapter.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Even if something was made from it or an alias points at it.")
@click.option("--undo", is_flag=True, help="Bring a removed version (NAME:v3) back.")
def rm(name: str, force: bool, undo: bool) -> None:
    """Hide a version; `medley registry gc` deletes what was hidden for an hour."""
    from hub import open_registry

    registry = open_registry()
    if undo:
        click.echo(f"{registry.restore(name).label} is back.")
        return
    removed = registry.remove(registry.get(name, kind="adapter").label, force=force)
    click.echo(f"Hid {removed.label}. Bring it back with: medley adapter rm {removed.label} --undo")

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
    size_text,
    time_text,
)
from medley.cli.version_commands import add_version_commands
from medley.cli.versions import as_json_row, parents_text, print_version, version_json

if TYPE_CHECKING:
    from hub import Registry, Version
    from medley.jobs.artifacts import FoundAdapter


@click.group()
def adapter() -> None:
    """Adapters: list, show, import, export, verify, alias, lineage, rm."""


@adapter.command()
@click.argument("name", metavar="NAME_OR_FOLDER")
@json_option
def show(name: str, as_json: bool) -> None:
    """What an adapter is, where it came from and what was measured."""
    from hub import open_registry
    from medley.jobs.artifacts import find_adapter, means_folder

    registry = open_registry()
    if means_folder(name):
        found = find_adapter(registry, name)
        if found.warning:
            click.echo(f"Warning: {found.warning}", err=True)
        show_folder(found, as_json=as_json)
        return
    version = registry.get(name, kind="adapter")
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
            "parents": parents_text(registry, version),
            "notes": facts.get("notes"),
        },
    )


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
@click.option(
    "--format", "format_name", type=click.Choice(["peft", "gguf"]), default="peft", help="What to write. Default peft."
)
def export(name: str, out: Path, format_name: str) -> None:
    """Copy an adapter to a new folder, or to a .zip; with --format gguf to a file for llama.cpp and Ollama."""
    from hub import open_registry

    if format_name == "gguf":
        from medley.cli.progress import progress_bar
        from medley.jobs import write_adapter_gguf

        with progress_bar("Loading") as emit:
            write_adapter_gguf(open_registry(), name, out, emit)
        click.echo(f"Wrote {out}.")
        return
    from hub.export import export_version

    click.echo(f"Wrote {export_version(open_registry(), name, out, kind='adapter')}.")


add_version_commands(adapter, "adapter", example="pirate")

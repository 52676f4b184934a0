"""What every noun says of versions: rows, problems found by verify, lineage."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from medley.cli.output import age_text, base_text, count_of, print_facts, print_json, print_table
from medley.errors import ProblemsError

if TYPE_CHECKING:
    from hub import Registry, Version
    from hub.verify import VerifyReport


def as_json_row(version: "Version") -> dict[str, Any]:
    """The fields that `list --json` promises."""
    return {
        "name": version.name,
        "version": version.number,
        "id": version.id,
        "kind": version.kind,
        "base": version.base,
        "created": version.created,
        "aliases": list(version.aliases),
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


def parents_text(registry: "Registry", version: "Version") -> list[str]:
    """`left:v1 (input)` for each known parent."""
    return [f"{parent.label} ({role})" for role, parent in registry.parents(version.id) if parent]


def print_version(version: "Version", facts: Mapping[str, object]) -> None:
    """The facts of a version, what was measured on it, and the recipe that made it."""
    print_facts(facts)
    metrics = version.metadata.get("metrics")
    if metrics:
        click.echo()
        print_table(["metric", "value"], [(key, _number_text(value)) for key, value in metrics.items()])
    if version.recipe:
        click.echo(f"\n{version.recipe.rstrip()}")


def _number_text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_versions(kind: str, *, limit: int | None, search: str = "", as_json: bool = False) -> None:
    """The newest version of each name of one kind."""
    from hub import open_registry

    versions = open_registry().list(kind, limit=limit, search=search)
    if as_json:
        print_json([as_json_row(version) for version in versions])
    elif not versions:
        click.echo(f"No {kind} fits '{search}'." if search else f"No {kind}s yet.", err=True)
    else:
        types = [[_type_of(each)] if kind == "adapter" else [] for each in versions]
        print_table(
            ["name", "version", "id", *(["type"] if kind == "adapter" else []), "base", "aliases", "created"],
            [
                (
                    each.name,
                    f"v{each.number}",
                    each.id[:8],
                    *type_,
                    base_text(each.base),
                    ", ".join(each.aliases) or "-",
                    age_text(each.created),
                )
                for each, type_ in zip(versions, types, strict=True)
            ],
        )


def _type_of(version: "Version") -> str:
    """An adapter's type; of one that was registered before types were noted, what peft calls it."""
    return str(version.metadata.get("adapter_type") or version.metadata.get("peft_type") or "lora").lower()


def print_report(report: "VerifyReport", *, as_json: bool) -> None:
    """What verifying found.

    Raises:
        ProblemsError: something is wrong.
    """
    if as_json:
        problems = [dataclasses.asdict(each) for each in report.problems]
        print_json({"checked": report.checked, "problems": problems, "unreferenced": list(report.unreferenced)})
    else:
        click.echo(f"Checked {count_of(report.checked, 'version')}: {count_of(len(report.problems), 'problem')}.")
        if report.unreferenced:
            rest = count_of(len(report.unreferenced), "unreferenced folder")
            click.echo(f"{rest} in the store; `medley registry gc` deletes what no version uses.")
    if report.problems:
        raise ProblemsError("the registry", [f"{problem}." for problem in report.problems])


def print_lineage(registry: "Registry", version: "Version", *, as_json: bool) -> None:
    """The graph around a version, from what it was made of to what was made of it."""
    graph = registry.lineage(version.label)
    if as_json:
        print_json(
            {
                "nodes": [as_json_row(node) for node in graph.nodes],
                "edges": [{"parent": parent, "child": child, "role": role} for parent, child, role in graph.edges],
            }
        )
        return
    labels = {**{node.id: node.label for node in graph.nodes}, version.id: version.label}
    order = {node.id: number for number, node in enumerate(graph.nodes)}
    if not graph.edges:
        click.echo(f"{labels[version.id]} has no parents and no children.")
    for parent, child, role in sorted(graph.edges, key=lambda edge: (order[edge[1]], order.get(edge[0], -1))):
        known = labels.get(parent, f"sha256:{parent[:8]}, which is not in this registry")
        click.echo(f"{labels[child]} <- {known} ({role})")

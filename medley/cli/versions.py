"""What every noun says of versions: rows, problems found by verify, lineage."""

import sys
from typing import TYPE_CHECKING, Any

import click

from medley.cli.output import age_text, print_json, print_table

if TYPE_CHECKING:
    from hub import Version


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


def print_versions(kind: str, *, limit: int | None, search: str = "", as_json: bool = False) -> None:
    """The newest version of each name of one kind."""
    from hub import open_registry

    versions = open_registry().list(kind, limit=limit, search=search)
    if as_json:
        print_json([as_json_row(version) for version in versions])
    elif not versions:
        click.echo(f"No {kind}s yet.", err=True)
    else:
        print_table(
            ["name", "version", "id", "base", "aliases", "created"],
            [
                (
                    each.name,
                    f"v{each.number}",
                    each.id[:8],
                    each.base or "-",
                    ", ".join(each.aliases) or "-",
                    age_text(each.created),
                )
                for each in versions
            ],
        )


def print_problems(ref: str | None, *, as_json: bool) -> None:
    """Verify one version or all of them; ends the program with 1 when something is wrong."""
    from hub import open_registry

    report = open_registry().verify(ref)
    problems = [{"id": each.id, "name": each.name, "path": each.path, "what": each.what} for each in report.problems]
    if as_json:
        print_json({"checked": report.checked, "problems": problems, "unreferenced": list(report.unreferenced)})
    else:
        for each in problems:
            click.echo(f"{each['what']}: {each['name']} {each['path']}", err=True)
        word = "version" if report.checked == 1 else "versions"
        click.echo(
            f"Checked {report.checked} {word}: {len(problems) or 'no'} problem{'s' if len(problems) != 1 else ''}."
        )
        if report.unreferenced:
            click.echo(f"{len(report.unreferenced)} unreferenced folders; `medley registry gc` removes them.")
    if problems:
        sys.exit(1)


def print_lineage(ref: str, *, as_json: bool) -> None:
    """The graph around a version, from what it was made of to what was made of it."""
    from hub import open_registry

    registry = open_registry()
    version = registry.get(ref)
    graph = registry.lineage(ref)
    if as_json:
        print_json(
            {
                "nodes": [as_json_row(node) for node in graph.nodes],
                "edges": [{"parent": parent, "child": child, "role": role} for parent, child, role in graph.edges],
            }
        )
        return
    label = {node.id: f"{node.kind} {node.label}" for node in graph.nodes}
    click.echo(label[version.id])
    for parent, child, role in graph.edges:
        click.echo(f"  {label[parent]} --{role}--> {label[child]}")

"""What can be done to a version whatever it is: list, verify, alias, lineage, rm. One set of commands for each noun."""

import click

from medley.cli.output import json_option, time_text
from medley.cli.versions import print_lineage, print_report, print_versions

name_argument = click.argument("name")


def add_version_commands(group: click.Group, kind: str, *, example: str) -> None:
    """Give a noun's group the commands that every kind of version has.

    Args:
        group: `medley adapter`, `medley model`, …
        kind: of the registry's versions; also the noun.
        example: a name for the help texts.
    """
    article = "an" if kind[0] in "aeiou" else "a"
    one = f"{article} {kind}"
    group.add_command(_list(kind))
    group.add_command(_verify(kind, one))
    group.add_command(_alias(kind, example))
    group.add_command(_lineage(kind, one))
    group.add_command(_rm(kind))


def _list(kind: str) -> click.Command:
    @click.command("list", help=f"The newest version of each {kind}, newest first.")
    @click.option("--limit", default=50, type=click.IntRange(min=1), help="Newest names shown. Default 50.")
    @click.option("--all", "show_all", is_flag=True, help="Show every name.")
    @click.option("--search", default="", help="Only names that contain this.")
    @json_option
    def list_names(limit: int, show_all: bool, search: str, as_json: bool) -> None:
        print_versions(kind, limit=None if show_all else limit, search=search, as_json=as_json)

    return list_names


def _verify(kind: str, one: str) -> click.Command:
    @click.command(help=f"Re-hash the files of {one}; exit code 1 when one is missing, changed or extra.")
    @click.argument("name", required=False)
    @click.option("--all", "every", is_flag=True, help=f"Check every version of every {kind}.")
    @json_option
    def verify(name: str | None, every: bool, as_json: bool) -> None:
        from hub import VerifyReport, open_registry

        if (name is None) != every:
            raise click.UsageError("Give either a NAME or --all.")
        registry = open_registry()
        if name is not None:
            ids = [registry.get(name, kind=kind).id]
        else:
            names = [each.name for each in registry.list(kind, limit=None)]
            ids = list(dict.fromkeys(version.id for each in names for version in registry.versions(each)))
        problems = [problem for id in ids for problem in registry.verify(id).problems]
        print_report(VerifyReport(len(ids), problems, []), as_json=as_json)

    return verify


def _alias(kind: str, example: str) -> click.Command:
    line = f"medley {kind} alias {example}:v3 production"

    @click.command(help=f"Point ALIAS (for example production) at a version: {line}.")
    @name_argument
    @click.argument("alias_name", metavar="ALIAS")
    @click.option("--remove", is_flag=True, help="Take the alias away.")
    @click.option("--history", is_flag=True, help="Show where it has pointed.")
    def alias(name: str, alias_name: str, remove: bool, history: bool) -> None:
        from hub import open_registry

        registry = open_registry()
        version = registry.get(name, kind=kind)
        if history:
            for move in registry.alias_history(version.name, alias_name):
                click.echo(f"{time_text(move.time)}  {f'v{move.to_number}' if move.to_number else 'removed'}")
        elif remove:
            registry.remove_alias(version.name, alias_name)
            click.echo(f"{version.name}:{alias_name} is gone.")
        else:
            registry.set_alias(version.name, alias_name, version.number)
            click.echo(f"{version.name}:{alias_name} -> v{version.number}")

    return alias


def _lineage(kind: str, one: str) -> click.Command:
    @click.command(help=f"What {one} was made from, and what was made from it.")
    @name_argument
    @json_option
    def lineage(name: str, as_json: bool) -> None:
        from hub import open_registry

        registry = open_registry()
        print_lineage(registry, registry.get(name, kind=kind), as_json=as_json)

    return lineage


def _rm(kind: str) -> click.Command:
    @click.command(help="Hide a version; `medley registry gc` deletes what was hidden for an hour.")
    @name_argument
    @click.option("--force", is_flag=True, help="Even if something was made from it or an alias points at it.")
    @click.option("--undo", is_flag=True, help="Bring a removed version (NAME:v3) back.")
    def rm(name: str, force: bool, undo: bool) -> None:
        from hub import open_registry

        registry = open_registry()
        if undo:
            click.echo(f"{registry.restore(name).label} is back.")
            return
        removed = registry.remove(registry.get(name, kind=kind).label, force=force)
        click.echo(f"Hid {removed.label}. Bring it back with: medley {kind} rm {removed.label} --undo")

    return rm

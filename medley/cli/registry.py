"""`medley registry …`: the store as a whole, over every kind."""

import click

from medley.cli.output import json_option, print_json, size_text
from medley.cli.versions import print_problems


@click.group()
def registry() -> None:
    """The registry as a whole: verify, gc, path."""


@registry.command()
@json_option
def verify(as_json: bool) -> None:
    """Re-hash every file of every version; exit code 1 when one is missing, changed or extra."""
    print_problems(None, as_json=as_json)


@registry.command()
@json_option
def gc(as_json: bool) -> None:
    """Delete the files of hidden versions and what crashes left behind."""
    from hub import open_registry

    report = open_registry().gc()
    if as_json:
        print_json({"removed": list(report.removed), "freed_bytes": report.freed_bytes})
        return
    click.echo(f"Removed {len(report.removed)} folders, freed {size_text(report.freed_bytes)}.")


@registry.command()
def path() -> None:
    """Print the home folder ($MEDLEY_HOME, else the platform's user data folder)."""
    from hub.home import home_dir

    click.echo(str(home_dir()))

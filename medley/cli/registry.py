"""`medley registry …`: the store as a whole, over every kind."""

import dataclasses

import click

from medley.cli.output import count_of, json_option, print_json, size_text
from medley.cli.versions import print_report


@click.group()
def registry() -> None:
    """The registry as a whole: verify, gc, path."""


@registry.command()
@json_option
def verify(as_json: bool) -> None:
    """Re-hash every file of every version; exit code 1 when one is missing, changed or extra."""
    from hub import open_registry

    print_report(open_registry().verify(), as_json=as_json)


@registry.command()
@json_option
def gc(as_json: bool) -> None:
    """Delete the files of hidden versions and what crashes left behind."""
    from hub import open_registry

    report = open_registry().gc()
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    for label in report.removed:
        click.echo(f"Removed {label}.")
    click.echo(f"Freed {size_text(report.freed_bytes)} in {count_of(len(report.folders), 'folder')}.")
    if report.waiting:
        click.echo(f"Not yet, because they were removed just now or are still needed: {', '.join(report.waiting)}.")


@registry.command()
def path() -> None:
    """Print the home folder ($MEDLEY_HOME, else the platform's user data folder)."""
    from hub.home import home_dir

    click.echo(str(home_dir()))

"""How help pages are set: lines break at spaces alone, and no command's line in a list ends in three dots."""

from collections.abc import Iterable

import click

FIRM_HYPHEN = "\u2011"  # click breaks lines at hyphens as well, which would tear flags and names apart


class HelpFormatter(click.HelpFormatter):
    """click's formatter, whose lines break at spaces alone."""

    def write(self, string: str) -> None:
        super().write(string.replace(FIRM_HYPHEN, "-"))

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, _firm(args), prefix)

    def write_text(self, text: str) -> None:
        super().write_text(_firm(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(first, _firm(second)) for first, second in rows], col_max, col_spacing)


class HelpContext(click.Context):
    """The context of our commands."""

    formatter_class = HelpFormatter


def with_whole_help(command: click.Command) -> click.Command:
    """The same command; its help and that of every command in it is set as above."""
    command.context_class = HelpContext
    if command.short_help is None and command.help:
        command.short_help = command.help.partition("\n\n")[0]
    for each in getattr(command, "commands", {}).values():
        with_whole_help(each)
    return command


def _firm(text: str) -> str:
    return text.replace("-", FIRM_HYPHEN)

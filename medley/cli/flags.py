"""Command-line flags made from an options dataclass, so that none is typed twice."""

from collections.abc import Callable
from typing import Any

import click

from medley.options import Option, describe, range_text, split_words

Command = Callable[..., Any]


class Flag(click.Option):
    """A flag that knows whether a form would fold it away."""

    def __init__(self, *names: Any, is_advanced: bool = False, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.is_advanced = is_advanced


class FoldedCommand(click.Command):
    """A command whose help shows the flags that matter first, and those that a form folds away under their own head."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        plain, folded = [], []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                (folded if getattr(parameter, "is_advanced", False) else plain).append(record)
        for title, records in (("Options", plain), ("More options", folded)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def flags_from(options_class: type) -> Callable[[Command], Command]:
    """A decorator that adds one flag for each option; a flag that is not given arrives as None."""

    def decorate(command: Command) -> Command:
        for each in reversed(describe(options_class)):
            command = flag(each)(command)
        return command

    return decorate


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Only the flags that were really given, so that presets and defaults fill the rest."""
    return {name: value for name, value in values.items() if value is not None}


def flag(option: Option, note: str = "") -> Callable[[Command], Command]:
    """A decorator that adds the flag of one option; `note` stands behind its help."""
    dashed = option.name.replace("_", "-")
    named = {"cls": Flag, "is_advanced": option.is_advanced, "help": _help(option, note)}
    if option.type is bool:
        return click.option(f"--{dashed}/--no-{dashed}", option.name, default=None, **named)
    if option.choices:
        return click.option(f"--{dashed}", option.name, type=click.Choice(option.choices), **named)
    if option.type is tuple:
        return click.option(f"--{dashed}", option.name, multiple=True, callback=_words, metavar="A,B", **named)
    return click.option(f"--{dashed}", option.name, type=option.type, **named)


def _words(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    """The words of a list flag, which may be given once with commas or several times; None when it is not given."""
    return tuple(word for value in values for word in split_words(value)) if values else None


def _help(option: Option, note: str) -> str:
    """The option's own line, then who uses it, its range and its default as one short sentence."""
    notes = [note] if note else []
    if option.type in (int, float) and range_text(option) != "finite":
        notes.append(range_text(option))
    if option.default not in (None, ()):
        notes.append(f"default {_default_text(option.default)}")
    text = "; ".join(notes)
    return f"{option.help} {text[0].upper()}{text[1:]}." if text else option.help


def _default_text(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ", ".join(default)  # so that a line can break between them
    return f"{default:g}" if isinstance(default, float) else str(default)

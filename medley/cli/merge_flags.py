"""The flags of `medley merge` that come from the table of methods, and a help page that lists the methods."""

import dataclasses
from collections.abc import Callable
from typing import Any

import click

from medley.cli.flags import flag
from merging import METHODS, Method

FEW = 2  # as many users of a flag are named beside it; of more, the list of methods says it


def method_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """One flag for each parameter that any method has, except the weight, which stands behind the name."""
    for name in reversed(parameter_names()):
        users = {method.name: parameter for method in METHODS.values() if (parameter := method.parameter(name))}
        parameter, *others = users.values()
        if any(other.default != parameter.default for other in others):
            parameter = dataclasses.replace(parameter, default=None)  # no single default to show
        command = flag(parameter, note=f"for {' and '.join(users)}" if len(users) <= FEW else "")(command)
    return command


def parameter_names() -> list[str]:
    """What any method takes, the weight left out, in the order of the table."""
    names = dict.fromkeys(each.name for method in METHODS.values() for each in method.parameters)
    return [name for name in names if name != "weight"]


class MergeCommand(click.Command):
    """Help in three parts: what every merge knows, the methods with the flags that each takes, and those flags."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        general, own = [], []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                (own if parameter.name in parameter_names() else general).append(record)
        methods = [(method.name, method_text(method)) for method in METHODS.values()]
        for title, records in (("Options", general), ("Methods", methods), ("Options of methods", own)):
            with formatter.section(title):
                formatter.write_dl(records)


def method_text(method: Method) -> str:
    """When to use it, and its flags."""
    names = ["--" + each.name.replace("_", "-") for each in method.parameters if each.name != "weight"]
    return f"{method.when} Takes {', '.join(names)}." if names else method.when

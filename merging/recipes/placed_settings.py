"""The settings that stand at one place of a recipe against its method: known, in range, and where they belong.

Methods of adapters and of full models are asked alike.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from medley.options import unknown_key
from merging.method import Parameter
from merging.recipes.settings import setting_problem


class HasParameters(Protocol):
    """A method, of whichever kind."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...

    def parameter(self, name: str) -> Parameter | None: ...


def settings_problems(
    settings: Mapping[str, Any],
    method: HasParameters,
    where: str = "",
    *,
    largest: float = math.inf,
    idle: Collection[str] = (),
) -> list[str]:
    """What is wrong with the settings of one place, one sentence each.

    Args:
        where: what each sentence begins with: "'pirate': ".
        largest: the largest magnitude of a number that makes sense, whatever its range.
        idle: names that are accepted and change nothing.
    """
    problems = []
    for name, setting in settings.items():
        parameter = method.parameter(name)
        if parameter is not None:
            problem = setting_problem(parameter, setting, largest=largest)
            problems += [where + problem] if problem else []
        elif name not in idle:
            problems.append(f"{where}{_unknown(str(name), method)}")
    return problems


def source_problems(settings: Mapping[str, Any], method: HasParameters, where: str, **limits: Any) -> list[str]:
    """The same for the settings of one input, where what holds for the whole merge may not stand."""
    for_all = [each.name for each in method.parameters if each.scope == "global" and each.name in settings]
    problems = [f"{where}{name} holds for the whole merge. Move it to the recipe's own parameters." for name in for_all]
    own = {name: setting for name, setting in settings.items() if name not in for_all}
    return problems + settings_problems(own, method, where, **limits)


def _unknown(name: str, method: HasParameters) -> str:
    known = [each.name for each in method.parameters]
    hint = unknown_key(name, known).partition("'. ")[2] if known else "It has none."
    return f"{method.name} has no parameter '{name}'. {hint}"

"""One definition of an option, from which flags, controls, recipes and cards are made.

An options class is a frozen dataclass whose fields are declared with `option(...)`. `describe` lists them,
`from_mapping` builds one from user input and reports every problem at once. No torch, no click, no gradio here.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from medley.errors import ParameterError, ProblemsError

OptionsT = TypeVar("OptionsT")


@dataclasses.dataclass(frozen=True)
class Option:
    """What the outside needs to know of one field of an options class.

    Attributes:
        name: the field's name; the CLI shows it with dashes.
        type: bool, int, float, str or tuple (of str); None is allowed where `optional`.
        default: what is used when nothing is said.
        help: one line with the unit: what changes when you turn it.
        low, high: the closed range, or None where it is open.
        above: an open lower bound (value must be > above), or None.
        choices: the allowed words, or ().
        is_advanced: True for what a form folds away.
    """

    name: str
    type: type
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    is_advanced: bool = False
    optional: bool = False


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    advanced: bool = False,
) -> Any:
    """A dataclass field that knows its help text and range; use it as the field's default."""
    details = {"help": help, "low": low, "high": high, "above": above, "choices": choices, "advanced": advanced}
    return dataclasses.field(default=default, metadata=details)


def describe(options_class: type) -> tuple[Option, ...]:
    """The options of a class, in the order they are declared."""
    hints = typing.get_type_hints(options_class)
    return tuple(_describe_field(field, hints[field.name]) for field in dataclasses.fields(options_class))


def _describe_field(field: dataclasses.Field, hint: Any) -> Option:
    optional = isinstance(hint, types.UnionType) and type(None) in hint.__args__
    kind = next(part for part in hint.__args__ if part is not type(None)) if optional else hint
    details = field.metadata
    return Option(
        name=field.name,
        type=typing.get_origin(kind) or kind,
        default=field.default,
        help=details["help"],
        low=details["low"],
        high=details["high"],
        above=details["above"],
        choices=details["choices"],
        is_advanced=details["advanced"],
        optional=optional,
    )


def from_mapping(options_class: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """An options object from names and values (a recipe, a form, flags).

    An options class may have a method `problems()`, which tells what only several options together get wrong.

    Raises:
        ProblemsError: every unknown key, wrong type and value out of range, together; else what `problems()` tells.
    """
    known = {each.name: each for each in describe(options_class)}
    problems, accepted = [], {}
    for name, value in values.items():
        if name not in known:
            problems.append(unknown_key(name, known))
            continue
        try:
            accepted[name] = check(known[name], value)
        except ParameterError as error:
            problems.append(str(error))
    if problems:
        raise ProblemsError("the options", problems)
    options = options_class(**accepted)
    check_together(options)
    return options


def check_together(options: Any) -> None:
    """Nothing, if the options do not contradict each other.

    Raises:
        ProblemsError: every sentence that their class's `problems()` has to say.
    """
    problems = options.problems() if hasattr(options, "problems") else []
    if problems:
        raise ProblemsError("the options", problems)


def unknown_key(name: str, known: typing.Iterable[str]) -> str:
    """The sentence for a key nobody knows, with the nearest one that exists."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known)}."
    return f"There is no option '{name}'. {hint}"


def check(option: Option, value: Any) -> Any:
    """The value in the option's type, if it is acceptable.

    Raises:
        ParameterError: wrong type, not one of the choices, or outside the range.
    """
    if value is None and option.optional:
        return None
    value = _as_type(option, value)
    if option.choices and value not in option.choices:
        raise ParameterError(f"{option.name} must be one of {', '.join(option.choices)}, got {value}.")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_range(option, value)
    return value


def _as_type(option: Option, value: Any) -> Any:
    if option.type is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if option.type is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a word
        try:
            return float(value)
        except ValueError:
            pass
    if option.type is tuple and isinstance(value, (list, tuple)):
        return tuple(str(part) for part in value)
    is_wrong_bool = isinstance(value, bool) != (option.type is bool)
    if is_wrong_bool or not isinstance(value, option.type):
        word = {int: "a whole number", float: "a number", bool: "true or false", tuple: "a list"}.get(
            option.type, "text"
        )
        raise ParameterError(f"{option.name} must be {word}, got {value!r}.")
    return value


def _check_range(option: Option, value: float) -> None:
    is_inside = (
        math.isfinite(value)
        and (option.low is None or value >= option.low)
        and (option.high is None or value <= option.high)
        and (option.above is None or value > option.above)
    )
    if not is_inside:
        raise ParameterError(f"{option.name} must be {range_text(option)}, got {value}.")


def split_words(text: str) -> tuple[str, ...]:
    """The words of a comma-separated text; a comma inside brackets, as in `matches:a{1,2}`, belongs to its word."""
    words, depth = [""], 0
    for character in text:
        depth = max(0, depth + (character in "([{") - (character in ")]}"))
        if character == "," and depth == 0:
            words.append("")
        else:
            words[-1] += character
    return tuple(word.strip() for word in words if word.strip())


def range_text(option: Option) -> str:
    """The allowed range in words: "in (0, 1]", "at least 1", "above 0"."""
    lower, bracket = (option.above, "(") if option.above is not None else (option.low, "[")
    if lower is None and option.high is None:
        return "finite"
    if option.high is None:
        return f"above {_number(lower)}" if bracket == "(" else f"at least {_number(lower)}"
    if lower is None:
        return f"at most {_number(option.high)}"
    return f"in {bracket}{_number(lower)}, {_number(option.high)}]"


def _number(value: float) -> str:
    """Whole numbers in full: a seed's limit is 4294967295, not 4.29497e+09."""
    return str(value) if isinstance(value, int) else f"{value:g}"

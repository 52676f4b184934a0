"""One parameter of a recipe, which may be a number, a gradient over the layers, or differ by the names of tensors.

The forms and their meaning are mergekit's: a scalar; a list, interpolated from the first layer to the last; a list of
`{filter: text, value: …}` of which the first whose text occurs in the tensor's name holds (`*` or none: always).
"""

import math
from typing import Any

from medley.errors import ParameterError
from medley.options import check, unknown_key
from merging.method import Parameter

CONDITION_KEYS = ("filter", "value")


def setting_problem(parameter: Parameter, setting: Any, *, largest: float = math.inf) -> str | None:
    """Why this cannot be a setting of the parameter, as a sentence, or None.

    Args:
        parameter: says type and range.
        setting: in any of the forms.
        largest: the largest magnitude of a number that makes sense, whatever the range.
    """
    for condition in _conditions(setting):
        problem = _condition_problem(parameter, condition, largest)
        if problem:
            return problem
    return None


def value_at(parameter: Parameter, setting: Any, tensor_name: str, depth: float) -> Any:
    """The value for one tensor, or None where no filter matches.

    Args:
        parameter: says the type.
        setting: checked by `setting_problem`.
        tensor_name: of the base model, for example "model.layers.0.mlp.up_proj.weight".
        depth: 0 at the first layer, 1 at the last; embeddings and head are at 0.
    """
    for condition in _conditions(setting):
        pattern = condition.get("filter")
        if pattern in (None, "*") or pattern in tensor_name:
            value = condition["value"]
            return _interpolated(parameter, value, depth) if isinstance(value, list) else check(parameter, value)
    return None


def _conditions(setting: Any) -> list[Any]:
    """Every form as a list of conditions."""
    if isinstance(setting, dict):
        return [setting]
    if isinstance(setting, list) and any(isinstance(each, dict) for each in setting):
        return setting
    return [{"value": setting}]


def _condition_problem(parameter: Parameter, condition: Any, largest: float) -> str | None:
    if not isinstance(condition, dict) or "value" not in condition:
        return f"{parameter.name}: each entry of the list needs 'value', and may have 'filter', got {condition!r}."
    unknown = next((key for key in condition if key not in CONDITION_KEYS), None)
    if unknown is not None:
        return f"{parameter.name}: {unknown_key(str(unknown), CONDITION_KEYS)}"
    pattern, value = condition.get("filter"), condition["value"]
    if pattern is not None and not isinstance(pattern, str):
        return f"{parameter.name}: filter must be text that occurs in tensor names, got {pattern!r}."
    if value == []:
        return f"{parameter.name}: a list over the layers needs at least one value."
    try:
        for each in value if isinstance(value, list) else [value]:
            number = check(parameter, each)
            if parameter.type is float and abs(number) > largest:
                return f"{parameter.name} must lie between {-largest:g} and {largest:g}, got {number:g}."
    except ParameterError as error:
        return str(error)
    return None


def _interpolated(parameter: Parameter, values: list[Any], depth: float) -> Any:
    """Numbers on the straight lines between the list's points; words and truth values step."""
    checked = [check(parameter, each) for each in values]
    place = depth * (len(checked) - 1)
    index = int(place)
    if parameter.type is not float:
        return checked[index]
    above = checked[min(index + 1, len(checked) - 1)]
    return (1 - (place - index)) * checked[index] + (place - index) * above

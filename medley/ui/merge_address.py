"""The merge form in the page's address: what a link or a reload brings back, with every setting that was turned."""

from typing import Any

import gradio as gr

from medley.errors import ParameterError
from medley.ui.controls import to_text, to_value
from medley.ui.merge_form import MAX_INPUTS, default_weight, form_values, parameters_of, values_of_recipe
from medley.ui.workspace import Workspace, attempt, query_value
from merging import METHODS, Parameter
from merging.guidance import DEFAULT_METHOD

KEPT = ("adapters", "method", "settings")
GONE = "recipe"  # a link to a recipe is followed once; from then on the form itself stands in the address


def values_from_address(workspace: Workspace, request: gr.Request | None) -> list[Any]:
    """Form values that the address asks for.

    `recipe=` names a version whose recipe is shown; else `adapters=a=0.6+b=0.4`, `method=` and `settings=density:0.5`.
    What means nothing here is left at its default.
    """
    if reference := query_value(request, "recipe"):
        values = attempt(lambda: values_of_recipe(workspace, reference))[0]
        if values is not None:
            return values
    from medley.jobs import parse_pane

    method = query_value(request, "method")
    method = method if method in METHODS else DEFAULT_METHOD
    text = query_value(request, "adapters").replace(",", "+").replace(" ", "+")
    parts = (attempt(lambda: parse_pane(text))[0] or []) if text else []
    parts = [(ref, weight) for ref, weight in parts if workspace.registry.exists(ref)][:MAX_INPUTS]
    is_weighed = "=" in text
    weights = [weight if is_weighed else default_weight(method, len(parts)) for _, weight in parts]
    parameters, keys = _read_settings(method, query_value(request, "settings"))
    return form_values([ref for ref, _ in parts], weights, method, parameters, keys)


def _read_settings(method: str, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The method's parameters and the recipe's keys that the text sets, as `form_values` takes them."""
    given = dict(part.split(":", 1) for part in text.split(",") if ":" in part)
    parameters = {}
    for each in parameters_of(method):
        value = _checked(each, given[each.name]) if each.name in given else None
        if value is not None:
            parameters[each.name] = value
    row, keys = METHODS[method], {}
    if "rank" in given:
        keys["rank"] = given["rank"]  # a field of free text: the preflight says what is wrong with it
    if given.get("space") in row.spaces:
        keys["space"] = given["space"]
    if given.get("variant") in row.variants:
        keys["variant"] = given["variant"]
    if row.is_random and given.get("seed", "").isdecimal():
        keys["seed"] = int(given["seed"])
    return parameters, keys


def _checked(parameter: Parameter, text: str) -> Any:
    """The parameter's value, or None for one that it cannot have."""
    shown = {"true": True, "false": False}.get(text, text) if parameter.type is bool else text
    try:
        return to_value(parameter, to_text(parameter, shown))
    except ParameterError:
        return None

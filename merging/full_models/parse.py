"""A recipe of full models from plain values: mergekit's whole schema, where every unknown key is an error.

No model is opened here and mergekit is not loaded; what only their files can tell is found by check.py.
"""

from collections.abc import Mapping
from typing import Any

from medley.errors import RecipeError
from medley.options import unknown_key
from merging.full_models.methods import FULL_METHODS
from merging.full_models.parameters import full_parameter_problems
from merging.full_models.recipe import FullRecipe
from merging.full_models.tokenizer import read_chat_template, read_tokenizer
from merging.recipes.inputs import (
    FULL_MODEL_SLICE_KEYS,
    MODEL_KEYS,
    SLICE_KEYS,
    SOURCE_KEYS,
    read_layer_range,
    read_mapping,
)
from merging.recipes.recipe import DTYPES
from merging.recipes.reference import Reference, parse_reference

INPUT_KEYS = ("models", "slices", "modules")
KEYS = ("merge_method", "base_model", *INPUT_KEYS, "parameters", "dtype", "out_dtype", "chat_template")
TOKENIZER_KEYS = ("tokenizer", "tokenizer_source")
ADAPTER_KEYS = ("space", "rank", "variant")


def parse_full(raw: Mapping[str, Any], problems: list[str]) -> FullRecipe | None:
    """The checked recipe, or None; what is wrong with it is added to `problems`."""
    before = len(problems)
    known = (*KEYS, *TOKENIZER_KEYS, "output", "seed")
    for key in raw:
        if key in ADAPTER_KEYS:
            problems.append(f"{key} is for adapters, and this recipe merges full models. Remove it.")
        elif key not in known:
            problems.append(unknown_key(str(key), known))
    name = raw.get("merge_method")
    if str(name) not in FULL_METHODS:
        hint = unknown_key(str(name), FULL_METHODS).partition("'. ")[2]
        problems.append(f"There is no merge method '{name}' for full models. {hint}")
    for key in ("dtype", "out_dtype"):
        if raw.get(key) is not None and raw[key] not in DTYPES:
            problems.append(f"{key} must be one of {', '.join(DTYPES)}, got {raw[key]}.")
    body = {
        "merge_method": name,
        "base_model": read_reference(raw, "base_model", "", problems),
        **_read_inputs(raw, "", INPUT_KEYS, problems),
        "parameters": read_mapping(raw, "parameters", "", problems),
        "dtype": raw.get("dtype"),
        "out_dtype": raw.get("out_dtype"),
        **read_tokenizer(raw, problems),
        "chat_template": read_chat_template(raw.get("chat_template"), problems),
    }
    recipe = FullRecipe(without_empty(body), _read_seed(raw, problems))
    if len(problems) == before:
        problems += full_parameter_problems(recipe)
    return recipe if len(problems) == before else None


def without_empty(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None and value != {} and value != []}


def read_reference(raw: Mapping[str, Any], key: str, where: str, problems: list[str]) -> Reference | None:
    """The model that a key names, or None where it is absent or wrong."""
    if raw.get(key) is None:
        return None
    try:
        return parse_reference(raw[key])
    except RecipeError as error:
        problems.append(f"{where}{key} {error}")
        return None


def _read_inputs(raw: Mapping[str, Any], where: str, keys: tuple[str, ...], problems: list[str]) -> dict[str, Any]:
    """Exactly one of models, slices and modules."""
    given = [key for key in keys if raw.get(key)]
    if len(given) != 1:
        problems.append(f"{where}Exactly one of {', '.join(map(repr, keys[:-1]))} and {keys[-1]!r} must be present.")
        return {}
    key, value = given[0], raw[given[0]]
    kind = dict if key == "modules" else list
    if not isinstance(value, kind):
        problems.append(f"{where}{key} must be a {'mapping' if kind is dict else 'list'}, got {value!r}.")
        return {}
    if key == "models":
        return {key: _read_sources(value, f"{where}models", MODEL_KEYS, problems)}
    if key == "slices":
        return {key: [_read_slice(each, f"{where}slices[{i}]", problems) for i, each in enumerate(value)]}
    return {key: {name: _read_module(each, f"modules.{name}", problems) for name, each in value.items()}}


def _read_module(raw: Any, where: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        problems.append(f"{where} needs 'models' or 'slices', got {raw!r}.")
        return {}
    known = (*INPUT_KEYS[:2], "parameters")
    problems += [f"{where}: {unknown_key(str(key), known)}" for key in raw if key not in known]
    inputs = _read_inputs(raw, f"{where}.", INPUT_KEYS[:2], problems)
    return without_empty({**inputs, "parameters": read_mapping(raw, "parameters", f"{where}.", problems)})


def _read_slice(raw: Any, where: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("sources"), list) or not raw["sources"]:
        problems.append(f"{where} needs 'sources', a list of models with their layer_range.")
        return {"sources": []}
    known = (*SLICE_KEYS, *FULL_MODEL_SLICE_KEYS)
    problems += [f"{where}: {unknown_key(str(key), known)}" for key in raw if key not in known]
    if raw.get("residual_weight") is not None:
        problems.append(f"{where}: mergekit reads residual_weight and does nothing with it. Remove it.")
    sources = _read_sources(raw["sources"], f"{where}.sources", SOURCE_KEYS, problems)
    lengths = {each["layer_range"][1] - each["layer_range"][0] for each in sources if each.get("layer_range")}
    if len(lengths) > 1:
        problems.append(f"{where}: all sources must have equally many layers.")
    return without_empty(
        {
            "sources": sources,
            "base_model": read_reference(raw, "base_model", f"{where}.", problems),
            "parameters": read_mapping(raw, "parameters", f"{where}.", problems),
        }
    )


def _read_sources(raw: list[Any], where: str, keys: tuple[str, ...], problems: list[str]) -> list[dict[str, Any]]:
    sources = []
    for index, each in enumerate(raw):
        place = f"{where}[{index}]"
        if not isinstance(each, Mapping) or not each.get("model"):
            problems.append(f"{place} needs 'model', got {each!r}.")
            continue
        problems += [f"{place}: {unknown_key(str(key), keys)}" for key in each if key not in keys]
        model = read_reference(each, "model", f"{place}: ", problems)
        layers = read_layer_range(each.get("layer_range"), place, problems) if "layer_range" in keys else None
        parameters = read_mapping(each, "parameters", f"{place}.", problems)
        if model is not None:
            layers = list(layers) if layers else None
            sources.append(without_empty({"model": model, "layer_range": layers, "parameters": parameters}))
    return sources


def _read_seed(raw: Mapping[str, Any], problems: list[str]) -> int:
    seed = raw.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        problems.append(f"seed must be a whole number of at least 0 and below 2**32, got {seed!r}.")
        return 0
    return seed

"""The inputs of an adapter recipe: `models`, or `slices` with their layer ranges, or one of them in a module."""

from collections.abc import Mapping, Sequence
from typing import Any

from medley.errors import RecipeError
from medley.options import unknown_key
from merging.recipes.recipe import Module, Slice, Source
from merging.recipes.reference import parse_reference

MODEL_KEYS = ("model", "parameters")
SOURCE_KEYS = ("model", "layer_range", "parameters")
SLICE_KEYS = ("sources", "parameters")
FULL_MODEL_SLICE_KEYS = ("base_model", "residual_weight")
INPUT_KEYS = ("models", "slices")
MODULE_KEYS = (*INPUT_KEYS, "parameters")


def read_inputs(raw: Mapping[str, Any], problems: list[str]) -> tuple[tuple[Slice, ...], Module | None]:
    """What is merged with what, and the module that it stands in, if any; what is wrong is added to `problems`."""
    modules = raw.get("modules")
    if not modules:
        return read_slices(raw, problems), None
    if any(raw.get(key) for key in INPUT_KEYS):
        problems.append("Exactly one of 'models', 'slices' and 'modules' must be present.")
        return (), None
    if not isinstance(modules, dict) or len(modules) != 1:
        problems.append(
            "modules must be a mapping with one module: which part of a model several modules are, only a full model "
            "says. Use models; a filter on the tensors' names gives a part its own parameters."
        )
        return (), None
    name, module = next(iter(modules.items()))
    if not isinstance(module, dict):
        problems.append(f"modules.{name} needs 'models' or 'slices', got {module!r}.")
        return (), None
    problems += [f"modules.{name}: {unknown_key(str(key), MODULE_KEYS)}" for key in module if key not in MODULE_KEYS]
    return read_slices(module, problems), Module(str(name), read_mapping(module, "parameters", "modules.", problems))


def read_slices(raw: Mapping[str, Any], problems: list[str]) -> tuple[Slice, ...]:
    """What is merged with what, over which layers; what is wrong is added to `problems`."""
    given = [key for key in INPUT_KEYS if raw.get(key)]
    if len(given) != 1:
        problems.append("Exactly one of 'models' and 'slices' must be present.")
        return ()
    if not isinstance(raw[given[0]], list):
        problems.append(f"{given[0]} must be a list, got {raw[given[0]]!r}.")
        return ()
    if given == ["models"]:
        return (Slice(_read_sources(raw["models"], "models", MODEL_KEYS, problems)),)
    slices = [_read_slice(each, f"slices[{index}]", problems) for index, each in enumerate(raw["slices"])]
    return tuple(_with_checked_layers([each for each in slices if each is not None], problems))


def read_mapping(raw: Mapping[str, Any], key: str, where: str, problems: list[str]) -> dict[str, Any]:
    """A mapping that may be absent or null."""
    value = raw.get(key)
    if value is None or isinstance(value, dict):
        return dict(value or {})
    problems.append(f"{where}{key} must be a mapping of names to values, got {value!r}.")
    return {}


def _read_slice(raw: Any, where: str, problems: list[str]) -> Slice | None:
    if not isinstance(raw, dict) or not isinstance(raw.get("sources"), list) or not raw["sources"]:
        problems.append(f"{where} needs 'sources', a list of models with their layer_range.")
        return None
    for key in raw:
        if key in FULL_MODEL_SLICE_KEYS:
            problems.append(f"{where}: '{key}' makes sense for full models only. Remove it to merge adapters.")
        elif key not in SLICE_KEYS:
            problems.append(f"{where}: {unknown_key(str(key), SLICE_KEYS)}")
    sources = _read_sources(raw["sources"], f"{where}.sources", SOURCE_KEYS, problems)
    return Slice(sources, read_mapping(raw, "parameters", f"{where}.", problems))


def _read_sources(raw: list[Any], where: str, keys: tuple[str, ...], problems: list[str]) -> tuple[Source, ...]:
    sources = []
    for index, each in enumerate(raw):
        place = f"{where}[{index}]"
        if not isinstance(each, dict) or not each.get("model"):
            problems.append(f"{place} needs 'model', got {each!r}.")
            continue
        problems += [f"{place}: {unknown_key(str(key), keys)}" for key in each if key not in keys]
        model, base = _read_reference(each["model"], place, problems)
        layers = read_layer_range(each.get("layer_range"), place, problems) if "layer_range" in keys else None
        sources.append(Source(model, read_mapping(each, "parameters", f"{place}.", problems), layers, base))
    return tuple(sources)


def _read_reference(raw: Any, where: str, problems: list[str]) -> tuple[str, str | None]:
    """The adapter and, from `base+adapter` or mergekit's mapping of both, the base it should have."""
    try:
        reference = parse_reference(raw)
    except RecipeError as error:
        problems.append(f"{where}: model {error}")
        return str(raw), None
    if reference.override_architecture is not None:
        problems.append(
            f"{where}: override_architecture makes sense for full models only. Remove it to merge adapters."
        )
    return (reference.model, None) if reference.lora is None else (reference.lora, reference.model)


def read_layer_range(raw: Any, where: str, problems: list[str]) -> tuple[int, int] | None:
    is_pair = isinstance(raw, list) and len(raw) == 2 and all(type(each) is int for each in raw)
    if is_pair and 0 <= raw[0] < raw[1]:
        return raw[0], raw[1]
    problems.append(f"{where}: layer_range must be [first, end] with 0 <= first < end, got {raw!r}.")
    return None


def _with_checked_layers(slices: list[Slice], problems: list[str]) -> list[Slice]:
    """The slices, if they keep every layer where it is: an adapter cannot move or repeat layers of its base."""
    index = moved_slice(slices)
    if index is not None:
        problems.append(
            f"slices[{index}] moves or repeats layers, which only full models can. For adapters each slice must "
            f"have one layer_range for all its sources, the first from 0, each next from where the last one ended."
        )
    return slices


def moved_slice(slices: Sequence[Slice]) -> int | None:
    """The first slice whose layers do not stay where they are, or None."""
    start = 0
    for index, each in enumerate(slices):
        ranges = {source.layer_range for source in each.sources if source.layer_range}
        if len(ranges) > 1 or (ranges and next(iter(ranges))[0] != start):
            return index
        start = next(iter(ranges))[1] if ranges else start
    return None

"""The inputs of a recipe: `models`, or `slices` with their layer ranges."""

import os.path
from collections.abc import Mapping
from typing import Any

from medley.options import unknown_key
from merging.recipe import Slice, Source

MODEL_KEYS = ("model", "parameters")
SOURCE_KEYS = ("model", "layer_range", "parameters")
SLICE_KEYS = ("sources", "parameters")
FULL_MODEL_SLICE_KEYS = ("base_model", "residual_weight")
REFERENCE_KEYS = ("model", "lora")


def read_slices(raw: Mapping[str, Any], problems: list[str]) -> tuple[Slice, ...]:
    """What is merged with what, over which layers; what is wrong is added to `problems`."""
    given = [key for key in ("models", "slices") if raw.get(key)]
    if len(given) != 1:
        if not raw.get("modules"):
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
        layers = _read_layer_range(each.get("layer_range"), place, problems) if "layer_range" in keys else None
        sources.append(Source(model, read_mapping(each, "parameters", f"{place}.", problems), layers, base))
    return tuple(sources)


def _read_reference(raw: Any, where: str, problems: list[str]) -> tuple[str, str | None]:
    """The adapter and, from `base+adapter` or mergekit's mapping of both, the base it should have."""
    if isinstance(raw, str):
        base, plus, adapter = raw.partition("+")
        is_pair = plus and base and adapter and not os.path.exists(raw)
        return (adapter, base) if is_pair else (raw, None)
    if isinstance(raw, dict) and raw.get("lora") and not set(raw) - set(REFERENCE_KEYS):
        names = [part.get("path") if isinstance(part, dict) else part for part in (raw["lora"], raw.get("model"))]
        if isinstance(names[0], str) and (names[1] is None or isinstance(names[1], str)):
            return names[0], names[1]
    problems.append(f"{where}: model must be an adapter, or base+adapter, got {raw!r}.")
    return str(raw), None


def _read_layer_range(raw: Any, where: str, problems: list[str]) -> tuple[int, int] | None:
    is_pair = isinstance(raw, list) and len(raw) == 2 and all(type(each) is int for each in raw)
    if is_pair and 0 <= raw[0] < raw[1]:
        return raw[0], raw[1]
    problems.append(f"{where}: layer_range must be [first, end] with 0 <= first < end, got {raw!r}.")
    return None


def _with_checked_layers(slices: list[Slice], problems: list[str]) -> list[Slice]:
    """The slices, if they keep every layer where it is: an adapter cannot move or repeat layers of its base."""
    start = 0
    for index, each in enumerate(slices):
        ranges = {source.layer_range for source in each.sources if source.layer_range}
        if len(ranges) > 1 or (ranges and next(iter(ranges))[0] != start):
            problems.append(
                f"slices[{index}] moves or repeats layers, which only full models can. For adapters each slice must "
                f"have one layer_range for all its sources, the first from 0, each next from where the last one ended."
            )
            return slices
        start = next(iter(ranges))[1] if ranges else start
    return slices

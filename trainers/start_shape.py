"""What an adapter that training goes on from decides: its kind, rank, targets and the like, as options. No torch.

Such an adapter keeps its shape, so the options that shape a fresh one are taken from it, and a recipe says what is so.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medley.errors import ParameterError
from medley.lm.adapter_file import AdapterConfig, read_config
from medley.lm.base_facts import BaseFacts
from medley.options import describe
from trainers.adapter_kinds import SHAPING, parse_alphas, parse_layers, parse_ranks

ALL_LINEAR = ("all-linear",)


def shape_of(config: AdapterConfig, facts: BaseFacts | None) -> dict[str, Any]:
    """The options that shape an adapter of this kind, as this one has them.

    Targets are written as all-linear where they are all of the base's linear layers, by their names or by their paths.
    A pattern that is a regular expression, as other programs write them, cannot be said in options and is left out.
    """
    raw, targets = config.raw, _targets(config.target_modules, facts)
    match config.kind:
        case "lora" | "dora":
            layers = raw.get("layers_to_transform")
            return {
                "rank": config.r,
                "alpha": config.lora_alpha,
                "dropout": float(raw.get("lora_dropout") or 0),
                "targets": targets,
                "rslora": config.use_rslora,
                "init": "default",
                "layers": None if layers is None else tuple(map(str, [layers] if isinstance(layers, int) else layers)),
                "rank_pattern": _pattern(config.rank_pattern, parse_ranks),
                "alpha_pattern": _pattern(config.alpha_pattern, parse_alphas),
            }
        case "ia3":
            return {"targets": targets}
        case "prefix-tuning" | "prompt-tuning":
            return {"virtual_tokens": raw.get("num_virtual_tokens")}
        case "llama-adapter":
            return {"adapter_len": raw.get("adapter_len"), "adapter_layers": raw.get("adapter_layers")}
    return {}


def _targets(modules: tuple[str, ...] | str | None, facts: BaseFacts | None) -> tuple[str, ...]:
    if isinstance(modules, str):
        return (modules,)
    names, linears = set(modules or ALL_LINEAR), facts.linears if facts else {}
    is_each_path = len(names) == sum(each.count for each in linears.values())
    short = {name.rpartition(".")[2] for name in names} if is_each_path else names
    return ALL_LINEAR if facts and short == set(linears) else tuple(sorted(names))


def _pattern(values: Mapping[str, float], parse: Any) -> tuple[str, ...] | None:
    words = tuple(f"{name}={value:g}" for name, value in sorted(values.items()))
    try:
        parse(words)
    except ParameterError:
        return None
    return words or None


def shaped_by_start(options: Any, folder: Path, facts: BaseFacts | None) -> Any:
    """The same options with those that shape an adapter as the one in `folder` has them.

    Args:
        facts: the base's sizes, or None where it is not at hand.
    """
    config = read_config(folder)
    open_to = _open(type(options))
    fresh = {name: default for name, default in open_to.items() if name in SHAPING}
    values = {**fresh, "adapter": config.kind, **shape_of(config, facts)}
    return dataclasses.replace(options, **{name: value for name, value in values.items() if name in open_to})


def differences(
    options_class: type, given: Mapping[str, Any], folder: Path, label: str, facts: BaseFacts | None
) -> list[str]:
    """What was asked for beside an adapter to start from and is otherwise there, a sentence each.

    Args:
        given: option -> value, as asked for; None is left open.
        label: what the user calls the adapter.
        facts: the base's sizes, or None where it is not at hand, so that all-linear cannot be judged.
    """
    config = read_config(folder)
    has = {"adapter": config.kind, **shape_of(config, facts)}
    problems = []
    for name in _open(options_class):
        if name not in (*SHAPING, "adapter") or given.get(name) is None:
            continue
        value = tuple(given[name]) if isinstance(given[name], (list, tuple)) else given[name]
        if name not in has or not _is_same(name, value, has[name], facts):
            problems.append(_sentence(name, value, config.kind, has.get(name), label))
    return problems


def _open(options_class: type) -> dict[str, Any]:
    """Option -> default, of those that can have more than one value."""
    return {each.name: each.default for each in describe(options_class) if each.low is None or each.low != each.high}


def _is_same(name: str, value: Any, has: Any, facts: BaseFacts | None) -> bool:
    if name == "targets" and value == ALL_LINEAR:
        return has == ALL_LINEAR or facts is None
    if name == "layers":
        return parse_layers(value) == parse_layers(has)
    if isinstance(value, tuple) and isinstance(has, tuple):
        return sorted(value) == sorted(has)
    return value == has


def _sentence(name: str, value: Any, kind: str, has: Any, label: str) -> str:
    keeps = f"a {kind} adapter that has none" if has is None else f"which keeps its {name} {_text(has)}"
    advice = "Leave it out." if has is None else f"Leave it out, or say {_text(has)}."
    return f"{name} {_text(value)} does not apply: training goes on from {label}, {keeps}. {advice}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)

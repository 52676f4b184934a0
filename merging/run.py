"""The runner: a recipe of adapter folders in, one adapter folder out.

Modules are read, merged and cast one after the other, on one thread each, so that the bytes of the result depend on the
inputs, the recipe and the seed alone. The maths is in the method's file and in solve.py; here are the files.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from medley.errors import AdapterFormatError, ProblemsError
from medley.events import Emit, ignore_event
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE, AdapterFile, file_sha256
from medley.lm.adapter_tensors import read_scaled_factors, write_adapter
from merging.check import Preflight, preflight
from merging.lowrank import Factors
from merging.parse import parse_recipe
from merging.plan import ModulePlan
from merging.recipe import Recipe
from merging.report import FILE_NAME, InputReport, MergeReport, ModuleReport
from merging.solve import DTYPES, Inputs, Merged, merge_module, space_stack
from merging.staging import staged_folder

RECIPE_FILE = "recipe.yaml"


def merge(
    recipe: Mapping[str, Any] | Path | str | Recipe,
    out_dir: Path | str,
    *,
    names: Mapping[str, str] | None = None,
    emit: Emit = ignore_event,
) -> MergeReport:
    """Merge adapters into a new adapter at `out_dir`, and report what was done.

    Args:
        recipe: a mapping, a path, YAML text (a str with a newline) or a parsed recipe; its models are folders.
        out_dir: absent or empty; appears at the end by one rename, with the adapter, recipe.yaml and merge_report.json.
        names: what recipe.yaml and the report call an input's folder; by default the end of its path, because a path
            of this machine says nothing to others.
        emit: told of progress, one event per module, and of warnings.

    Raises:
        ProblemsError: everything that preflight found; nothing is written then.
        AdapterFormatError: an input's weights cannot be read or are not finite.
        ParameterError: the result does not fit into the chosen dtype.
    """
    started = time.monotonic()
    parsed, out_dir = parse_recipe(recipe), Path(out_dir).expanduser()
    found = preflight(parsed, out_dir, names=names)
    if found.problems:
        raise ProblemsError("the merge", found.problems)
    for warning in found.warnings:
        emit("warning", text=warning)
    with staged_folder(out_dir) as staging, _one_thread():
        inputs = [_describe_input(name, adapter) for name, adapter in found.adapters.items()]
        merged = dict(_merge_modules(parsed, found, inputs, emit))
        first = next(iter(found.adapters.values())).config
        factors = {name: module.factors for name, module in merged.items()}
        write_adapter(
            staging,
            factors,
            base_model=first.base_model or "",
            revision=next((each.config.revision for each in found.adapters.values() if each.config.revision), None),
            dtype=DTYPES[found.dtype],
            task_type=first.task_type,
        )
        called = dict(zip(parsed.models, found.adapters, strict=True))
        (staging / RECIPE_FILE).write_text(_saved_recipe(parsed, called).to_yaml(), encoding="utf-8")
        report = _report(parsed, found, inputs, merged)
        (staging / FILE_NAME).write_text(report.to_json(), encoding="utf-8")
    emit("artifact", path=str(out_dir))
    return MergeReport(**{**vars(report), "out_dir": out_dir, "seconds": time.monotonic() - started})


def _merge_modules(
    recipe: Recipe, found: Preflight, described: list[InputReport], emit: Emit
) -> Iterator[tuple[str, Merged]]:
    adapters = list(found.adapters.values())
    digests = [(each.sha256, each.config_sha256) for each in described]
    prepared = _prepared(recipe, found, adapters)
    for step, plan in enumerate(found.modules, start=1):
        inputs = _inputs(recipe, plan, adapters, digests, prepared)
        yield plan.name, merge_module(recipe, plan, inputs, DTYPES[found.dtype])
        emit("progress", step=step, total=len(found.modules), text="Merging")


def _inputs(
    recipe: Recipe,
    plan: ModulePlan,
    adapters: list[AdapterFile],
    digests: list[tuple[str, str]],
    prepared: Mapping[str, Mapping[int, Any]],
) -> Inputs:
    """The module's factors with everything that goes with each.

    Elementwise methods draw random numbers and add in float32, so their adapters come in the order of their content,
    not of the recipe: then the order in the recipe changes nothing.
    """
    order = list(range(len(plan.inputs)))
    if recipe.method.family == "elementwise":
        order.sort(key=lambda place: _sort_key(plan, place, digests))
    indices = [plan.inputs[place] for place in order]
    per_model = {name: [values[place] for place in order] for name, values in plan.per_model.items()}
    per_model |= {name: [values.get(index, 0.0) for index in indices] for name, values in prepared.items()}
    return Inputs(
        [_read(adapters, index, plan) for index in indices],
        [plan.weights[place] for place in order] if plan.weights else [],
        per_model,
        [1.0 if index is None else adapters[index].modules[plan.name].scale for index in indices],
    )


def _sort_key(plan: ModulePlan, place: int, digests: list[tuple[str, str]]) -> tuple[tuple[str, str], float]:
    index = plan.inputs[place]
    return ("", "") if index is None else digests[index], plan.weights[place]


def _read(adapters: list[AdapterFile], index: int | None, plan: ModulePlan) -> Factors:
    """(scale · B, A) of one adapter for one module; rank 0 where it has none."""
    if index is None:
        return torch.zeros(plan.out_features, 0), torch.zeros(0, plan.in_features)
    b, a = read_scaled_factors(adapters[index], plan.name)
    if not (torch.isfinite(b).all() and torch.isfinite(a).all()):
        raise AdapterFormatError(f"'{adapters[index].folder.name}' holds NaN or Infinity in {plan.name}.")
    return b, a


def _prepared(recipe: Recipe, found: Preflight, adapters: list[AdapterFile]) -> Mapping[str, Mapping[int, Any]]:
    """What a variant has to know of the whole adapters before the first module: argument name to adapter to value."""
    prepare = recipe.method.preparation(recipe.variant)
    if prepare is None:
        return {}

    def modules() -> Iterator[list[tuple[int, torch.Tensor]]]:
        for plan in found.modules:
            touching = [
                index for index, weight in zip(plan.inputs, plan.weights, strict=True) if index is not None and weight
            ]
            factors = [_read(adapters, index, plan) for index in touching]
            yield list(zip(touching, space_stack(recipe, factors), strict=True)) if factors else []

    density = {
        index: share
        for plan in found.modules
        for index, share in zip(plan.inputs, plan.per_model["density"], strict=True)
        if index is not None
    }
    return prepare(modules, density=density)


def _describe_input(name: str, adapter: AdapterFile) -> InputReport:
    return InputReport(
        name=name,
        sha256=file_sha256(adapter.folder / WEIGHTS_FILE),
        config_sha256=file_sha256(adapter.folder / CONFIG_FILE),
        modules=len(adapter.modules),
        max_rank=max(module.rank for module in adapter.modules.values()),
    )


def _saved_recipe(recipe: Recipe, called: Mapping[str, str]) -> Recipe:
    """The recipe as it is kept beside the result: with names instead of this machine's paths."""
    renamed = recipe.with_models(lambda model: called[model])
    return renamed.with_base_name(lambda base: Path(base).name if Path(base).expanduser().is_dir() else base)


def _report(recipe: Recipe, found: Preflight, inputs: list[InputReport], merged: Mapping[str, Merged]) -> MergeReport:
    tied = sum(1 for module in merged.values() if module.tied)
    configs = [adapter.config for adapter in found.adapters.values()]
    warnings = [*found.warnings]
    if recipe.method.family == "factor":
        warnings.append("factor is approximate: the error is against the weighted sum that it stands for.")
    if tied:
        warnings.append(
            f"In {tied} of {len(merged)} modules singular values are equal, so some axes of the core space are a "
            "convention; another convention would give another result there. Use space: delta to avoid it."
        )
    return MergeReport(
        method=recipe.merge_method,
        variant=recipe.variant,
        space=recipe.space if recipe.method.family == "elementwise" else None,
        rank=recipe.rank.text,
        seed=recipe.seed,
        dtype=found.dtype,
        base_model=configs[0].base_model or "",
        revision=next((config.revision for config in configs if config.revision), None),
        inputs=tuple(inputs),
        modules={
            name: ModuleReport(module.rank, module.energy_kept, module.error, module.norm)
            for name, module in merged.items()
        },
        warnings=tuple(warnings),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Several threads add in an order that depends on their number, and so would the last bits of the result."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

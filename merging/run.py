"""The runner: a recipe of adapter folders in, one adapter folder out.

Modules are read, merged and cast one after the other, on one thread each, so that the bytes of the result depend on the
inputs, the recipe and the seed alone. The maths is in the method's file and in solve.py; here are the files.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from medley.errors import ProblemsError
from medley.events import Emit, ignore_event
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE, AdapterFile, file_sha256
from medley.lm.adapter_tensors import write_adapter
from merging.cast import check_fits
from merging.check import Preflight, preflight
from merging.reading import one_thread, open_reader
from merging.recipe import Recipe
from merging.report import FILE_NAME, InputReport, MergeReport, ModuleReport
from merging.solve import DTYPES, Merged, merge_module
from merging.staging import staged_folder

RECIPE_FILE = "recipe.yaml"


def merge_adapters(
    recipe: Recipe, out_dir: Path, *, names: Mapping[str, str] | None = None, emit: Emit = ignore_event
) -> MergeReport:
    """Merge adapters into a new adapter at `out_dir`, and report what was done.

    Args:
        recipe: its models are folders.
        out_dir, names, emit: as for `merging.merge`, one event per module.

    Raises:
        ProblemsError: everything that preflight found; nothing is written then.
        AdapterFormatError: an input's weights cannot be read or are not finite.
        ParameterError: the result does not fit into the chosen dtype.
        ConflictError, StorageError: somebody took the place meanwhile, or it cannot be written.
    """
    started = time.monotonic()
    found = preflight(recipe, out_dir, names=names)
    if found.problems:
        raise ProblemsError("the merge", found.problems)
    for warning in found.warnings:
        emit("warning", text=warning)
    with staged_folder(out_dir) as staging, one_thread():
        inputs = [_describe_input(name, adapter) for name, adapter in found.adapters.items()]
        merged = dict(_merge_modules(recipe, found, inputs, emit))
        report = _report(recipe, found, inputs, merged)
        _write(staging, recipe, found, merged, report)
    emit("artifact", path=str(out_dir))
    return MergeReport(**{**vars(report), "out_dir": out_dir, "seconds": time.monotonic() - started})


def _merge_modules(
    recipe: Recipe, found: Preflight, described: list[InputReport], emit: Emit
) -> Iterator[tuple[str, Merged]]:
    reader = open_reader(recipe, found, [(each.sha256, each.config_sha256) for each in described])
    for step, plan in enumerate(found.modules, start=1):
        merged = merge_module(recipe, plan, reader.read(plan), DTYPES[found.dtype])
        check_fits(plan.name, merged.factors, found.dtype)
        yield plan.name, merged
        emit("progress", step=step, total=len(found.modules), text="Merging")


def _write(staging: Path, recipe: Recipe, found: Preflight, merged: Mapping[str, Merged], report: MergeReport) -> None:
    write_adapter(
        staging,
        {name: module.factors for name, module in merged.items()},
        base_model=report.base_model,
        revision=report.revision,
        dtype=DTYPES[found.dtype],
        task_type=next(iter(found.adapters.values())).config.task_type,
    )
    called = dict(zip(recipe.models, found.adapters, strict=True))
    (staging / RECIPE_FILE).write_text(_saved_recipe(recipe, called).to_yaml(), encoding="utf-8")
    (staging / FILE_NAME).write_text(report.to_json(), encoding="utf-8")


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

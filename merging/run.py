"""The runner: a recipe of adapter folders in, one adapter folder out.

Modules are read, merged, cast and written in the order of their names, each on one thread, so that the bytes of the
result depend on the inputs, the recipe and the seed alone; as many are worked on at once as there are threads. The
maths is in the method's file and in solve.py; here are the files.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from medley.errors import ProblemsError
from medley.events import Emit, ignore_event
from medley.lm.adapter_writer import AdapterWriter
from merging.check import Preflight, preflight
from merging.diagnosis.cost import workers_for
from merging.input_digests import InputDigests, input_digests
from merging.numerics.cast import check_fits
from merging.parallel import in_order
from merging.plan import ModulePlan
from merging.reading import one_thread, open_reader
from merging.recipes.recipe import Recipe
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
    with staged_folder(out_dir) as staging, one_thread() as threads, input_digests(found.adapters) as inputs:
        modules = _merge_modules(recipe, found, inputs, threads, emit)
        reports, tied = _write_adapter(staging, found, modules)
        report = _report(recipe, found, inputs.reports(), reports, tied)
        _write_side_files(staging, recipe, found, report)
    emit("artifact", path=str(out_dir))
    return MergeReport(**{**vars(report), "out_dir": out_dir, "seconds": time.monotonic() - started})


def _merge_modules(
    recipe: Recipe, found: Preflight, inputs: InputDigests, threads: int, emit: Emit
) -> Iterator[tuple[str, Merged]]:
    """Every module's name and result; few are in memory at once."""
    reader = open_reader(recipe, found, inputs)

    def merge_one(plan: ModulePlan) -> tuple[str, Merged]:
        merged = merge_module(recipe, plan, reader.read(plan), DTYPES[found.dtype])
        check_fits(plan.name, merged.factors, found.dtype)
        return plan.name, merged

    workers = workers_for(recipe, found.modules, threads)
    for step, merged in enumerate(in_order(merge_one, found.modules, workers), start=1):
        yield merged
        emit("progress", step=step, total=len(found.modules), text="Merging")


def _write_adapter(
    staging: Path, found: Preflight, modules: Iterator[tuple[str, Merged]]
) -> tuple[dict[str, ModuleReport], int]:
    """Each module written as soon as it is there. What remains is its row of the report, and how many have ties."""
    configs = [adapter.config for adapter in found.adapters.values()]
    reports, tied = {}, 0
    with AdapterWriter(
        staging,
        [plan.name for plan in found.modules],
        base_model=configs[0].base_model or "",
        revision=_revision(found),
        dtype=DTYPES[found.dtype],
        task_type=configs[0].task_type,
    ) as writer:
        for name, merged in modules:
            writer.add(name, *merged.factors)
            tied += bool(merged.tied)
            reports[name] = ModuleReport(merged.rank, merged.energy_kept, merged.error, merged.norm)
    return reports, tied


def _write_side_files(staging: Path, recipe: Recipe, found: Preflight, report: MergeReport) -> None:
    called = dict(zip(recipe.models, found.adapters, strict=True))
    (staging / RECIPE_FILE).write_text(_saved_recipe(recipe, called).to_yaml(), encoding="utf-8")
    (staging / FILE_NAME).write_text(report.to_json(), encoding="utf-8")


def _saved_recipe(recipe: Recipe, called: Mapping[str, str]) -> Recipe:
    """The recipe as it is kept beside the result: with names instead of this machine's paths."""
    renamed = recipe.with_models(lambda model: called[model])
    return renamed.with_base_name(lambda base: Path(base).name if Path(base).expanduser().is_dir() else base)


def _revision(found: Preflight) -> str | None:
    return next((each.config.revision for each in found.adapters.values() if each.config.revision), None)


def _report(
    recipe: Recipe, found: Preflight, inputs: list[InputReport], modules: Mapping[str, ModuleReport], tied: int
) -> MergeReport:
    configs = [adapter.config for adapter in found.adapters.values()]
    warnings = [*found.warnings]
    if recipe.method.family == "factor":
        warnings.append("factor is approximate: the error is against the weighted sum that it stands for.")
    if recipe.named_space == "compressed" and recipe.method.family == "elementwise":
        warnings.append(
            "Energy kept is what the compressed space holds of the adapters; error does not count the rest."
        )
    if tied:
        warnings.append(
            f"In {tied} of {len(modules)} modules singular values are equal, so some axes of space {recipe.space} are "
            "a convention; another convention would give another result there. Use space: delta to avoid it."
        )
    return MergeReport(
        method=recipe.merge_method,
        variant=recipe.variant,
        space=recipe.named_space,
        rank=recipe.rank.text,
        seed=recipe.seed,
        dtype=found.dtype,
        base_model=configs[0].base_model or "",
        revision=_revision(found),
        inputs=tuple(inputs),
        modules=modules,
        warnings=tuple(warnings),
    )

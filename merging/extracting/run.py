"""The runner of an extraction: two full models in, one adapter folder out, one module at a time.

Modules are worked on side by side, each on one thread, so that the bytes of the result depend on the models, the
options and the seed alone. The maths is in numerics/adaptive_svd.py, what is checked before in check.py.
"""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medley.errors import IncompatibleError, ProblemsError
from medley.events import Emit, ignore_event
from medley.lm.adapter_tensors import Factors, write_adapter
from medley.lm.base_folder import weights_digest
from medley.lm.model_tensors import TensorReader, open_tensors
from merging.extracting.check import ExtractPreflight, extract_preflight
from merging.extracting.model_difference import difference
from merging.extracting.options import ExtractOptions
from merging.extracting.report import FILE_NAME, ExtractReport
from merging.extracting.whole import Whole, sort_whole
from merging.numerics.dense_module import factor_dense
from merging.parallel import dense_workers, in_order
from merging.reading import one_thread
from merging.recipes.recipe import parse_rank
from merging.report import ModuleReport
from merging.solve import DTYPES
from merging.staging import staged_folder


def extract_adapter(
    base: Path | str,
    model: Path | str,
    out_dir: Path | str,
    options: ExtractOptions | None = None,
    *,
    base_model: str,
    revision: str | None = None,
    emit: Emit = ignore_event,
) -> ExtractReport:
    """Write an adapter that turns `base` into `model` as well as its rank allows, and report what it misses.

    Each linear weight that changed gets the best factors of its difference, at scale 1; weights that did not change
    are left out. What is no linear weight is kept whole, refused or ignored, as `options.others` says.

    Args:
        base, model: folders with config.json and safetensors, one file or several.
        out_dir: absent or empty; appears at the end by one rename.
        base_model, revision: what the adapter calls its base: a Hub id, never a path.
        emit: told of progress, one event per module, and of warnings.

    Raises:
        ProblemsError: everything that preflight found; nothing is written then.
        IncompatibleError: the models are the same, or something changed that the options refuse.
        BaseModelError: weights that cannot be read or are not finite.
        ConflictError, StorageError: somebody took the place meanwhile, or it cannot be written.
    """
    started, options = time.monotonic(), options or ExtractOptions()
    base, model, out_dir = (Path(each).expanduser() for each in (base, model, out_dir))
    found = extract_preflight(base, model, options, out_dir)
    if found.problems:
        raise ProblemsError("the extraction", found.problems)
    for warning in found.warnings:
        emit("warning", text=warning)
    with staged_folder(out_dir) as staging, one_thread(), ThreadPoolExecutor(2) as hashing:
        digests = {role: hashing.submit(weights_digest, folder) for role, folder in (("base", base), ("model", model))}
        whole, modules = _extract(found, options, emit)
        write_adapter(
            staging,
            {name: factors for name, (factors, _) in modules.items()},
            base_model=base_model,
            revision=revision,
            dtype=DTYPES[found.dtype],
            saved_tensors=whole.saved,
        )
        measured = {name: each for name, (_, each) in modules.items()}
        report = _report(found, options, base_model, revision, whole, measured)
        report = report.with_inputs({role: digest.result() for role, digest in digests.items()})
        (staging / FILE_NAME).write_text(report.to_json(), encoding="utf-8")
    emit("artifact", path=str(out_dir))
    return dataclasses.replace(report, out_dir=out_dir, seconds=time.monotonic() - started)


def _extract(
    found: ExtractPreflight, options: ExtractOptions, emit: Emit
) -> tuple[Whole, dict[str, tuple[Factors, ModuleReport]]]:
    """What of the difference is kept whole, and the factors of all else by module."""
    with open_tensors(found.base) as before, open_tensors(found.model) as after:
        whole = sort_whole(found, before, after, options.others)
        modules = dict(_extract_modules(found, before, after, options, emit))
    if not modules:
        raise IncompatibleError("No linear weight differs between the base and the model: nothing to extract.")
    return whole, modules


def _extract_modules(
    found: ExtractPreflight, before: TensorReader, after: TensorReader, options: ExtractOptions, emit: Emit
) -> Iterator[tuple[str, tuple[Factors, ModuleReport]]]:
    """Every module that changed."""
    rule, dtype = parse_rank(options.rank), DTYPES[found.dtype]

    def extract(module: str) -> tuple[Factors, ModuleReport] | None:
        name = f"{module}.weight"
        delta = difference(before.read(name), after.read(name))
        if delta is None:
            return None
        return factor_dense(module, delta, rule, dtype, most=options.max_rank, seed=options.seed)

    for step, (module, result) in enumerate(
        zip(found.linears, in_order(extract, found.linears, dense_workers()), strict=True), start=1
    ):
        if result is not None and result[1].rank:
            yield module, result
        emit("progress", step=step, total=len(found.linears), text="Extracting")


def _report(
    found: ExtractPreflight,
    options: ExtractOptions,
    base_model: str,
    revision: str | None,
    whole: Whole,
    modules: Mapping[str, ModuleReport],
) -> ExtractReport:
    return ExtractReport(
        rank=parse_rank(options.rank).text,
        others=options.others,
        seed=options.seed,
        dtype=found.dtype,
        base_model=base_model,
        revision=revision,
        modules=modules,
        unchanged=len(found.linears) - len(modules),
        saved=tuple(whole.saved),
        ignored=whole.ignored,
        warnings=(*found.warnings, *whole.warnings),
    )

"""The runner of a conversion: an adapter of another kind in, a plain LoRA out.

Where the delta of a kind has a low rank, its exact factors are cut by small matrices; a delta that depends on the base
(DoRA at its magnitudes, IA3, OFT) has full rank and is cut in a block Krylov space. The error is of what is written.
"""

import dataclasses
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from medley.errors import AdapterFormatError, ProblemsError
from medley.events import Emit, ignore_event
from medley.lm.adapter_file import WEIGHTS_FILE, check_finite, file_sha256
from medley.lm.adapter_tensors import Factors, write_adapter
from medley.lm.base_folder import weights_digest
from medley.lm.model_tensors import open_tensors
from merging.converting import weight_deltas
from merging.converting.check import ConvertPreflight, Source, convert_preflight
from merging.converting.options import ConvertOptions
from merging.converting.report import FILE_NAME, ConvertReport
from merging.numerics.dense_module import factor_dense
from merging.numerics.lowrank import decompose
from merging.parallel import dense_workers, in_order
from merging.reading import one_thread
from merging.recipes.recipe import RankRule, parse_rank
from merging.report import ModuleReport
from merging.solve import DTYPES, cut_spectrum
from merging.staging import staged_folder

FACTORS = {  # kind -> its exact factors
    "lora": weight_deltas.lora,
    "loha": weight_deltas.loha,
    "lokr": weight_deltas.lokr,
    "adalora": weight_deltas.adalora,
    "vera": weight_deltas.vera,
}
DENSE = {  # kind -> its delta beside a weight of the base
    "dora": weight_deltas.dora,
    "ia3": weight_deltas.ia3,
    "oft": weight_deltas.oft,
}
WORTH_SAYING = 0.01  # an error above this is a warning


def convert_adapter(
    adapter_dir: Path | str,
    out_dir: Path | str,
    options: ConvertOptions | None = None,
    *,
    base: Path | str | None = None,
    name: str | None = None,
    emit: Emit = ignore_event,
) -> ConvertReport:
    """Write a plain LoRA that does what the adapter does, as well as its rank allows, and report what it misses.

    Args:
        adapter_dir: an adapter of a kind in kinds.py.
        out_dir: absent or empty; appears at the end by one rename.
        base: the folder of its base model; read for DoRA, IA3 and OFT, its headers for VeRA.
        name: what to call the adapter in messages; by default its folder's name.
        emit: told of progress, one event per module, and of warnings.

    Raises:
        ProblemsError: everything that preflight found; nothing is written then.
        AdapterFormatError: weights that cannot be read or are not finite.
        ConflictError, StorageError: somebody took the place meanwhile, or it cannot be written.
    """
    started, options = time.monotonic(), options or ConvertOptions()
    adapter_dir, out_dir = Path(adapter_dir).expanduser(), Path(out_dir).expanduser()
    base = Path(base).expanduser() if base is not None else None
    found = convert_preflight(adapter_dir, options, base=base, name=name, out_dir=out_dir)
    if found.problems:
        raise ProblemsError("the conversion", found.problems)
    with staged_folder(out_dir) as staging, one_thread():
        tensors = _read_all(found)
        converted = _convert_modules(found, tensors, options, emit)
        saved = {inner: tensors[key] for inner, key in found.saved.items()}
        _write(staging, found, {module: factors for module, (factors, _) in converted.items()}, saved)
        report = _report(found, options, base, {module: each for module, (_, each) in converted.items()})
        (staging / FILE_NAME).write_text(report.to_json(), encoding="utf-8")
    for warning in report.warnings:
        emit("warning", text=warning)
    emit("artifact", path=str(out_dir))
    return dataclasses.replace(report, out_dir=out_dir, seconds=time.monotonic() - started)


def _read_all(found: ConvertPreflight) -> dict[str, Tensor]:
    """The adapter's tensors in float32; adapters are small."""
    path = found.adapter.folder / WEIGHTS_FILE
    check_finite(found.adapter)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key).float() for key in found.adapter.tensors}
    except (SafetensorError, OSError) as error:
        raise AdapterFormatError(f"{path} cannot be read: {error}.") from error


def _convert_modules(
    found: ConvertPreflight, tensors: Mapping[str, Tensor], options: ConvertOptions, emit: Emit
) -> dict[str, tuple[Factors, ModuleReport]]:
    kind, dtype = found.adapter.config.kind, DTYPES[found.dtype]
    rule = options.rule(has_full_rank=kind in DENSE)
    with ExitStack() as stack:
        weights = stack.enter_context(open_tensors(found.base)) if kind in DENSE else None

        def convert(module: str) -> tuple[Factors, ModuleReport]:
            source = found.modules[module]
            parts = _parts_of(source, tensors)
            if weights is None:
                return cut_factors(FACTORS[kind](parts, source.scale), rule, dtype)
            delta = DENSE[kind](parts, source.scale, weights.read(f"{module}.weight").float())
            return factor_dense(module, delta, rule, dtype, most=options.max_rank, seed=options.seed)

        converted = {}
        results = in_order(convert, found.modules, dense_workers())
        for step, (module, result) in enumerate(zip(found.modules, results, strict=True), start=1):
            converted[module] = result
            emit("progress", step=step, total=len(found.modules), text="Converting")
        return converted


def _parts_of(source: Source, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one module; what all modules of a VeRA share is as large as the largest of them, and cut to it."""
    parts = {part: tensors[key] for part, key in source.parts.items()}
    rows, columns = source.sizes
    if "vera_A" in parts:
        parts |= {"vera_A": parts["vera_A"][:, :columns], "vera_B": parts["vera_B"][:rows]}
    return parts


def cut_factors(factors: Factors, rule: RankRule, dtype: torch.dtype) -> tuple[Factors, ModuleReport]:
    """The best factors of B·A in `dtype` by the rank rule ("auto" is the numerical rank), and how far they are off."""
    return cut_spectrum(rule, decompose(factors[0].double(), factors[1].double()), dtype)


def _write(staging: Path, found: ConvertPreflight, factors: Mapping[str, Factors], saved: Mapping[str, Tensor]) -> None:
    config = found.adapter.config
    write_adapter(
        staging,
        factors,
        base_model=str(config.base_model),
        revision=config.revision,
        dtype=DTYPES[found.dtype],
        task_type=config.task_type,
        saved_tensors=saved,
    )


def _report(
    found: ConvertPreflight, options: ConvertOptions, base: Path | None, modules: Mapping[str, ModuleReport]
) -> ConvertReport:
    config = found.adapter.config
    inputs = {"adapter": file_sha256(found.adapter.folder / WEIGHTS_FILE)}
    if found.base and base is not None:
        inputs["base"] = weights_digest(base)
    report = ConvertReport(
        kind=config.kind,
        rank=parse_rank(options.rank).text,
        seed=options.seed,
        dtype=found.dtype,
        base_model=str(config.base_model),
        revision=config.revision,
        modules=modules,
        saved=tuple(found.saved),
        inputs=inputs,
    )
    if report.error <= WORTH_SAYING:
        return report
    word = found.kind.word
    warning = f"The result misses {report.error:.1%} of the {word}'s delta at rank {report.max_rank} or less."
    return dataclasses.replace(report, warnings=(warning,))

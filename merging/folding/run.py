"""A base with adapters folded in, as a full model: streamed tensor by tensor, so that any size fits into memory.

The arithmetic is float32(base) + Σ weight · scale · B · A, cast once. Tensors that no adapter changes are copied byte
for byte. What is done to each tensor is planned in plan.py; here the bytes are read, changed and written.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from medley.errors import AdapterFormatError, ProblemsError
from medley.events import Emit, ignore_event
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE, AdapterFile, file_sha256
from medley.lm.model_file import DTYPE_OF, ModelFile
from medley.lm.model_stream import Content, read_blocks, write_weights
from merging.folding.changes import LowRank
from merging.folding.maths import Change, cast_once, folded_rows, stacked, with_magnitude
from merging.folding.plan import FoldInput, FoldPlan, TensorPlan, plan_fold
from merging.reading import one_thread
from merging.report import FILE_NAME
from merging.staging import staged_folder

DEFAULT_SHARD_BYTES = 5_000_000_000


@dataclass(frozen=True)
class FoldedInput:
    """One adapter of a fold, by content."""

    name: str
    weight: float
    sha256: str
    config_sha256: str
    modules: int


@dataclass(frozen=True)
class FoldReport:
    """What was done; kept beside the model as merge_report.json.

    Attributes:
        base_model, revision: as the adapters say, or as the caller.
        dtype: of most weights of the result.
        inputs: the adapters, by content.
        changed, copied: tensors that are not the base's, and tensors whose bytes are.
        is_untied: the output layer got weights of its own.
        size_bytes: of the weights.
        files: the weight files' names.
        warnings: what a person should know.
    """

    base_model: str
    revision: str | None
    dtype: str
    inputs: tuple[FoldedInput, ...]
    changed: int
    copied: int
    is_untied: bool
    size_bytes: int
    files: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """What is written beside the model."""
        return json.dumps({"method": "fold", **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def fold(
    base_dir: Path | str,
    adapters: Sequence[FoldInput],
    out_dir: Path | str,
    *,
    dtype: str | None = None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    untie: bool = False,
    base_model: str | None = None,
    revision: str | None = None,
    recipe: str | None = None,
    notes: Sequence[str] = (),
    emit: Emit = ignore_event,
) -> FoldReport:
    """Write the base with adapters folded in as a full model at `out_dir`, and report what was done.

    Args:
        base_dir: a base in 16 or 32 bits: configuration, safetensors (one file or several) and tokenizer.
        adapters: one LoRA adapter, or several that are summed by their weights.
        out_dir: absent or empty; appears at the end by one rename.
        dtype: float32, bfloat16 or float16 for all floats; by default each tensor keeps the base's.
        shard_bytes: no weights file is larger, unless one tensor alone is.
        untie: give the output layer weights of its own where an adapter changes it or the embeddings and the base
            has one matrix for both.
        base_model, revision: what the report calls the base; by default what the adapters say.
        notes: what else the report is to say among its warnings.
        recipe: what recipe.yaml is to hold; none is written without it.
        emit: told of progress, one event per tensor, and of warnings.

    Raises:
        ProblemsError: everything that stands against it; nothing is written then.
        AdapterFormatError: an adapter's weights cannot be read or are not finite.
        ParameterError: a value does not fit into the dtype.
        ConflictError, StorageError: somebody took the place meanwhile, or it cannot be written.
    """
    base_dir, out_dir = Path(base_dir).expanduser(), Path(out_dir).expanduser()
    plan = plan_fold(base_dir, adapters, out_dir, dtype=dtype, untie=untie)
    if plan.problems or plan.model is None:
        raise ProblemsError("the fold", plan.problems)
    for warning in plan.warnings:
        emit("warning", text=warning)
    with staged_folder(out_dir) as staging:
        names = _write_tensors(staging, plan, shard_bytes, emit)
        _write_side_files(staging, plan.model, plan)
        report = _report(plan, names, base_model, revision, notes)
        (staging / FILE_NAME).write_text(report.to_json(), encoding="utf-8")
        if recipe is not None:
            (staging / "recipe.yaml").write_text(recipe, encoding="utf-8")
    emit("artifact", path=str(out_dir))
    return report


def _open_weights(stack: ExitStack, adapter: AdapterFile) -> Any:
    try:
        return stack.enter_context(safe_open(adapter.folder / WEIGHTS_FILE, framework="pt", device="cpu"))
    except (SafetensorError, OSError) as error:
        raise AdapterFormatError(f"'{adapter.folder.name}' cannot be read: {error}.") from error


def _write_tensors(staging: Path, plan: FoldPlan, shard_bytes: int, emit: Emit) -> list[str]:
    """The names of the weight files."""
    plans = {each.result.name: each for each in plan.tensors}
    steps = iter(range(1, len(plans) + 1))
    with one_thread() as threads, ExitStack() as stack:
        files = [_open_weights(stack, adapter) for adapter in plan.adapters.values()]
        return write_weights(
            staging,
            [each.result for each in plan.tensors],
            lambda name: _content(plans[name], files, list(plan.adapters)),
            shard_bytes=shard_bytes,
            threads=threads,
            written=lambda: emit("progress", step=next(steps), total=len(plans), text="Folding"),
        )


def _content(plan: TensorPlan, files: Sequence[Any], names: Sequence[str]) -> Content:
    if plan.is_copy or not plan.source.is_float:
        return plan.source
    return _blocks(plan, files, names)


def _blocks(plan: TensorPlan, files: Sequence[Any], names: Sequence[str]) -> Iterator[torch.Tensor]:
    """The tensor's rows, block by block, changed and cast."""
    dtype = getattr(torch, DTYPE_OF[plan.result.dtype])
    change = stacked([_read(each, files, names) for each in plan.changes]) if plan.changes else None
    keys = [(each.adapter, each.key_magnitude) for each in plan.changes if each.key_magnitude]
    magnitude = files[keys[0][0]].get_tensor(keys[0][1]).flatten().to(torch.float32) if keys else None
    for first, block in read_blocks(plan.source):
        if change is not None:
            block = folded_rows(block, first, (change[0].to(block.dtype), change[1].to(block.dtype)))
        if magnitude is not None:
            block = with_magnitude(block, first, magnitude.to(block.dtype))
        yield cast_once(block, dtype, plan.result.name)


def _read(change: LowRank, files: Sequence[Any], names: Sequence[str]) -> Change:
    """(scale · left, right) of one adapter in float32."""
    keys = change.key_left, change.key_right
    left, right = (files[change.adapter].get_tensor(key).to(torch.float32) for key in keys)
    for key, factor in zip(keys, (left, right), strict=True):
        if not torch.isfinite(factor).all():
            raise AdapterFormatError(f"'{names[change.adapter]}' holds NaN or Infinity in {key}.")
    if change.is_transposed:
        left, right = left.T.contiguous(), right.T.contiguous()
    return left * change.scale, right


def _write_side_files(staging: Path, model: ModelFile, plan: FoldPlan) -> None:
    """Configuration, tokenizer and chat template of the base; the configuration says what changed."""
    for name in model.side_files:
        shutil.copyfile(model.folder / name, staging / name)
    said: dict[str, Any] = {"tie_word_embeddings": False} if plan.is_untied else {}
    if plan.dtype is not None:
        said |= {key: plan.dtype for key in ("dtype", "torch_dtype") if key in model.config} or {"dtype": plan.dtype}
    if said:
        text = json.dumps({**model.config, **said}, indent=2, ensure_ascii=False) + "\n"
        (staging / "config.json").write_text(text, encoding="utf-8")


def _report(
    plan: FoldPlan, files: Sequence[str], base_model: str | None, revision: str | None, notes: Sequence[str]
) -> FoldReport:
    configs = [adapter.config for adapter in plan.adapters.values()]
    sizes: dict[str, int] = {}
    for each in plan.tensors:
        sizes[each.result.dtype] = sizes.get(each.result.dtype, 0) + each.result.size_bytes
    return FoldReport(
        base_model=base_model or configs[0].base_model or "",
        revision=revision or next((config.revision for config in configs if config.revision), None),
        dtype=DTYPE_OF.get(max(sizes, key=sizes.__getitem__), "unknown"),
        inputs=tuple(_describe(name, plan.adapters[name], weight) for name, weight in _weighted(plan)),
        changed=plan.changed,
        copied=sum(1 for each in plan.tensors if each.is_copy),
        is_untied=plan.is_untied,
        size_bytes=plan.size_bytes,
        files=tuple(files),
        warnings=(*plan.warnings, *notes),
    )


def _weighted(plan: FoldPlan) -> Iterator[tuple[str, float]]:
    return zip(plan.adapters, plan.weights, strict=True)


def _describe(name: str, adapter: AdapterFile, weight: float) -> FoldedInput:
    return FoldedInput(
        name=name,
        weight=weight,
        sha256=file_sha256(adapter.folder / WEIGHTS_FILE),
        config_sha256=file_sha256(adapter.folder / CONFIG_FILE),
        modules=len(adapter.modules),
    )

"""An adapter's factors as tensors: read from its file module by module, and written so that any peft loads them.

No base model is needed here. What the folder claims (ranks, scales, names) is checked in `medley.lm.adapter_file`.

Legend: a module's delta is ΔW = scale · B · A, with A (rank, in_features) and B (out_features, rank).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from medley.errors import AdapterFormatError, ParameterError
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE, AdapterFile
from medley.lm.module_patterns import resolve_patterns

Factors = tuple[torch.Tensor, torch.Tensor]  # (B, A)

PREFIX = "base_model.model."
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def read_factors(adapter: AdapterFile, module: str) -> Factors:
    """(B, A) of one module in float32, without the scale; only their bytes are read.

    Args:
        adapter: an opened adapter.
        module: a key of `adapter.modules`.

    Raises:
        AdapterFormatError: the file changed since it was opened, or cannot be read.
    """
    with _reader(adapter) as file:
        return _read_pair(file, adapter, module)


def read_scaled_factors(adapter: AdapterFile, module: str) -> Factors:
    """(scale · B, A) of one module in float32, so that their product is the whole delta."""
    b, a = read_factors(adapter, module)
    return b * adapter.modules[module].scale, a


def iterate_scaled_factors(adapter: AdapterFile) -> Iterator[tuple[str, Factors]]:
    """Every module with its (scale · B, A) in float32, in the file's order, opening the file once."""
    with _reader(adapter) as file:
        for name, module in adapter.modules.items():
            b, a = _read_pair(file, adapter, name)
            yield name, (b * module.scale, a)


@contextmanager
def _reader(adapter: AdapterFile) -> Iterator[Any]:
    path = adapter.folder / WEIGHTS_FILE
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise AdapterFormatError(f"{path} cannot be read: {error}.") from error


def _read_pair(file: Any, adapter: AdapterFile, module: str) -> Factors:
    known = adapter.modules[module]
    a, b = file.get_tensor(known.key_a), file.get_tensor(known.key_b)
    if a.shape != (known.rank, known.in_features) or b.shape != (known.out_features, known.rank):
        raise AdapterFormatError(f"{adapter.folder / WEIGHTS_FILE} changed while it was being read.")
    return b.to(torch.float32), a.to(torch.float32)


def write_adapter(
    folder: Path,
    factors: Mapping[str, Factors],
    *,
    base_model: str,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    target_modules: tuple[str, ...] = (),
    task_type: str | None = "CAUSAL_LM",
    saved_tensors: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write an adapter that peft loads at scale 1: `B @ A` of each module is its whole delta.

    The same factors give the same bytes. A module of rank 0 is written as rank 1 with zero factors, because peft
    refuses rank 0. Values are cast to `dtype` here, once.

    Args:
        folder: gets adapter_config.json and adapter_model.safetensors; made when absent.
        factors: module name as in the base ("model.layers.0.self_attn.q_proj") to (B, A), the scale already in B.
        base_model: the Hub id (or other public name) of the base; never a local path.
        revision: the base's commit on the Hub, or None.
        dtype: float32, bfloat16 or float16.
        target_modules: short names ("q_proj") where they mean exactly these modules; full names by default.
        task_type: peft's word for the kind of model.
        saved_tensors: tensors of the base that the adapter replaces whole, by name ("model.norm.weight"); their
            modules become peft's `modules_to_save`.

    Raises:
        ParameterError: no modules, an unknown dtype, factors that do not fit, values not finite in `dtype`.
    """
    if not factors:
        raise ParameterError("An adapter needs at least one module, got none.")
    if dtype not in DTYPES:
        raise ParameterError(f"An adapter's dtype must be float32, bfloat16 or float16, got {dtype}.")
    tensors, ranks = {}, {}
    for name in sorted(factors):
        b, a = _storable(name, *factors[name], dtype)
        tensors[f"{PREFIX}{name}.lora_A.weight"], tensors[f"{PREFIX}{name}.lora_B.weight"] = a, b
        ranks[name] = a.shape[0]
    for name, tensor in (saved_tensors or {}).items():
        tensors[PREFIX + name] = _finite(f"The values of {name}", tensor.to("cpu", dtype)).contiguous().clone()
    config = _config(ranks, base_model, revision, target_modules, task_type)
    config["modules_to_save"] = sorted({name.rpartition(".")[0] for name in saved_tensors or {}}) or None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(save(tensors, metadata={"format": "pt"}))
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _storable(name: str, b: torch.Tensor, a: torch.Tensor, dtype: torch.dtype) -> Factors:
    if b.dim() != 2 or a.dim() != 2 or b.shape[1] != a.shape[0]:
        raise ParameterError(f"The factors of {name} do not fit: B is {tuple(b.shape)}, A is {tuple(a.shape)}.")
    if a.shape[0] == 0:
        b, a = b.new_zeros(b.shape[0], 1), a.new_zeros(1, a.shape[1])
    b, a = (_finite(f"The factors of {name}", factor.detach().to("cpu", dtype).contiguous()) for factor in (b, a))
    return b.clone(), a.clone()  # safetensors refuses tensors that share memory


def _finite(what: str, tensor: torch.Tensor) -> torch.Tensor:
    if not torch.isfinite(tensor).all():
        raise ParameterError(f"{what} are not finite in {str(tensor.dtype).removeprefix('torch.')}.")
    return tensor


def _config(
    ranks: Mapping[str, int],
    base_model: str,
    revision: str | None,
    target_modules: tuple[str, ...],
    task_type: str | None,
) -> dict[str, Any]:
    """An adapter_config.json with alpha = rank for each module, so that peft's alpha / rank is 1 everywhere."""
    common = min(Counter(ranks.values()).items(), key=lambda item: (-item[1], item[0]))[0]
    patterns = {name: rank for name, rank in ranks.items() if rank != common}
    if resolve_patterns(patterns, list(ranks), common, "rank_pattern") != ranks:
        patterns = _patterns_for_all(ranks)
    return {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": base_model,
        "revision": revision,
        "r": common,
        "lora_alpha": common,
        "rank_pattern": patterns,
        "alpha_pattern": patterns,
        "target_modules": sorted(target_modules or ranks),
        "use_rslora": False,
        "use_dora": False,
        "lora_bias": False,
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "modules_to_save": None,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _patterns_for_all(ranks: Mapping[str, int]) -> dict[str, int]:
    """A pattern for every module, the most particular first, for names of which one ends like another.

    peft takes the first key that matches the end of a name, where a dot matches any letter. Longer keys, and of equal
    ones those with fewer dots, therefore come first.
    """
    return {name: ranks[name] for name in sorted(ranks, key=lambda name: (-len(name), name.count("."), name))}

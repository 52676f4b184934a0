"""An adapter's file written module by module, so that a result of any size never stands whole in memory.

A safetensors file begins with a header that needs every shape, but the rank of a result is only known when it is there.
The header therefore gets as much room as the largest numbers would take, and is filled in at the end; spaces after it
are part of the format.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from medley.errors import ParameterError
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE
from medley.lm.module_patterns import resolve_patterns

PREFIX = "base_model.model."
DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
LARGEST_SIZE, LARGEST_PLACE = 10**7, 10**14  # in a shape and in a file; their digits are kept free for each tensor


class AdapterWriter:
    """Writes the modules it is given, in the order of their names, and the configuration at the end.

    A context: leaving it without an exception finishes both files.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        base_model: str,
        revision: str | None = None,
        dtype: torch.dtype = torch.float32,
        target_modules: tuple[str, ...] = (),
        task_type: str | None = "CAUSAL_LM",
        saved_tensors: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Args as those of `write_adapter`; `names` are the modules that will be added."""
        if not names:
            raise ParameterError("An adapter needs at least one module, got none.")
        if dtype not in DTYPE_NAMES:
            raise ParameterError(f"An adapter's dtype must be float32, bfloat16 or float16, got {dtype}.")
        self.folder, self.dtype, self.names = folder, dtype, sorted(names)
        self.said = base_model, revision, target_modules, task_type
        self.saved = dict(saved_tensors or {})
        self.ranks: dict[str, int] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        largest = {_key(name, side): (LARGEST_SIZE, LARGEST_SIZE) for name in self.names for side in "AB"}
        largest |= {PREFIX + name: tuple(tensor.shape) for name, tensor in self.saved.items()}
        header = _header({key: _entry(dtype, shape, LARGEST_PLACE) for key, shape in largest.items()})
        self.header_bytes = len(header) + -len(header) % 8
        self.position = 0

    def __enter__(self) -> "AdapterWriter":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = (self.folder / WEIGHTS_FILE).open("wb", buffering=0)
        self.file.seek(8 + self.header_bytes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_whole = False
        try:
            with self.file:
                if error is None:
                    self._finish()
                    is_whole = True
        finally:
            if not is_whole:
                (self.folder / WEIGHTS_FILE).unlink()

    def add(self, name: str, b: torch.Tensor, a: torch.Tensor) -> None:
        """Cast and write one module's (B, A), the scale in B; the next in the order of the names.

        Raises:
            ParameterError: factors that do not fit, or values that are not finite in the dtype.
        """
        assert name == self.names[len(self.ranks)], f"{name} is not the next module"
        b, a = _storable(name, b, a, self.dtype)
        self.ranks[name] = a.shape[0]
        self._append(_key(name, "A"), a)
        self._append(_key(name, "B"), b)

    def _append(self, key: str, values: torch.Tensor) -> None:
        self.entries[key] = _entry(self.dtype, tuple(values.shape), self.position)
        data = memoryview(values.view(-1).view(torch.uint8).numpy())
        self.position += len(data)
        while data:
            data = data[self.file.write(data) :]

    def _finish(self) -> None:
        assert len(self.ranks) == len(self.names), "modules are missing"
        for name, tensor in self.saved.items():
            values = _finite(f"The values of {name}", tensor.detach().to("cpu", self.dtype).contiguous())
            self._append(PREFIX + name, values)
        header = _header(self.entries).ljust(self.header_bytes)
        self.file.seek(0)
        self.file.write(len(header).to_bytes(8, "little") + header)
        base_model, revision, target_modules, task_type = self.said
        config = _config(self.ranks, base_model, revision, target_modules, task_type)
        config["modules_to_save"] = sorted({name.rpartition(".")[0] for name in self.saved}) or None
        (self.folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _key(name: str, side: str) -> str:
    return f"{PREFIX}{name}.lora_{side}.weight"


def _entry(dtype: torch.dtype, shape: tuple[int, ...], start: int) -> dict[str, Any]:
    end = start + math.prod(shape) * dtype.itemsize
    return {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}


def _header(entries: Mapping[str, dict[str, Any]]) -> bytes:
    return json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()


def is_finite(values: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite; much faster than looking at each, because one of them spoils the sum.

    A sum of large numbers can leave the dtype all the same; then the largest tells.
    """
    return math.isfinite(float(values.sum())) or math.isfinite(float(values.abs().max()))


def _storable(name: str, b: torch.Tensor, a: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    if b.dim() != 2 or a.dim() != 2 or b.shape[1] != a.shape[0]:
        raise ParameterError(f"The factors of {name} do not fit: B is {tuple(b.shape)}, A is {tuple(a.shape)}.")
    if a.shape[0] == 0:
        b, a = b.new_zeros(b.shape[0], 1), a.new_zeros(1, a.shape[1])
    b, a = (_finite(f"The factors of {name}", each.detach().to("cpu", dtype).contiguous()) for each in (b, a))
    return b, a


def _finite(what: str, values: torch.Tensor) -> torch.Tensor:
    if not is_finite(values):
        advice = " Choose a wider dtype, for example bfloat16." if values.dtype == torch.float16 else ""
        raise ParameterError(f"{what} are not finite in {str(values.dtype).removeprefix('torch.')}.{advice}")
    return values


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

"""An adapter's factors as tensors: read from its file module by module, and written so that any peft loads them.

No base model is needed here. What the folder claims (ranks, scales, names) is checked in `medley.lm.adapter_file`.

Legend: a module's delta is ΔW = scale · B · A, with A (rank, in_features) and B (out_features, rank).
"""

import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from medley.errors import AdapterFormatError, ProblemsError
from medley.lm.adapter_file import WEIGHTS_FILE, AdapterFile, read_header
from medley.lm.adapter_writer import DTYPE_NAMES, AdapterWriter
from medley.lm.strict_files import open_regular

Factors = tuple[torch.Tensor, torch.Tensor]  # (B, A)

DTYPE_OF = {name: dtype for dtype, name in DTYPE_NAMES.items()}


class FactorReader:
    """Reads factors of one adapter, in any order and from any thread; its file is open as long as this exists.

    Bytes are read to where they are needed and not mapped: mapped pages would count as memory of this process until
    something else needs the room.
    """

    def __init__(self, adapter: AdapterFile) -> None:
        self.adapter = adapter
        self.path = adapter.folder / WEIGHTS_FILE
        try:
            tensors = read_header(self.path)
        except (AdapterFormatError, ProblemsError) as error:
            raise AdapterFormatError(f"{self.path} cannot be read: {error}") from error
        if tensors != adapter.tensors:
            raise AdapterFormatError(f"{self.path} changed while it was being read.")
        with open_regular(self.path) as file:
            self.descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, module: str) -> Factors:
        """(B, A) of one module in float32, without the scale.

        Raises:
            AdapterFormatError: the file changed since it was opened, or cannot be read.
        """
        known = self.adapter.modules[module]
        return self._tensor(known.key_b), self._tensor(known.key_a)

    def read_scaled(self, module: str) -> Factors:
        """(scale · B, A) of one module in float32, so that their product is the whole delta."""
        b, a = self.read(module)
        scale = self.adapter.modules[module].scale
        return (b if scale == 1 else b * scale), a

    def _tensor(self, key: str) -> torch.Tensor:
        known = self.adapter.tensors[key]
        data = torch.empty(known.end - known.start, dtype=torch.uint8)
        view, place = memoryview(data.numpy()), known.start
        while view:
            count = os.preadv(self.descriptor, [view], place)
            if not count:
                raise AdapterFormatError(f"{self.path} changed while it was being read.")
            view, place = view[count:], place + count
        return data.view(DTYPE_OF[known.dtype]).view(known.shape).to(torch.float32)


def read_factors(adapter: AdapterFile, module: str) -> Factors:
    """(B, A) of one module in float32, without the scale; only their bytes are read.

    Args:
        adapter: an opened adapter.
        module: a key of `adapter.modules`.

    Raises:
        AdapterFormatError: the file changed since it was opened, or cannot be read.
    """
    return FactorReader(adapter).read(module)


def read_scaled_factors(adapter: AdapterFile, module: str) -> Factors:
    """(scale · B, A) of one module in float32, so that their product is the whole delta."""
    return FactorReader(adapter).read_scaled(module)


def iterate_scaled_factors(adapter: AdapterFile) -> Iterator[tuple[str, Factors]]:
    """Every module with its (scale · B, A) in float32, in the file's order, opening the file once."""
    reader = FactorReader(adapter)
    for name in adapter.modules:
        yield name, reader.read_scaled(name)


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
    with AdapterWriter(
        folder,
        list(factors),
        base_model=base_model,
        revision=revision,
        dtype=dtype,
        target_modules=target_modules,
        task_type=task_type,
        saved_tensors=saved_tensors,
    ) as writer:
        for name in writer.names:
            writer.add(name, *factors[name])

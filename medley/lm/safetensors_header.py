"""The header of a safetensors file, read by our own strict parser.

The safetensors library accepts duplicate keys, 200,000 empty tensors and headers of 100 MB; an adapter has no use for
any of them. Only the header is read here, never the data.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medley.errors import AdapterFormatError
from medley.lm.strict_files import label_of, open_regular, parse_json_object, raise_problems

MAX_HEADER_BYTES = 16 * 1024 * 1024  # a LoRA on every expert of a large mixture model needs about 5 MB
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8
MAX_ELEMENTS = 2**40
MAX_SHOWN_PROBLEMS = 10
DTYPE_BYTES = {"F32": 4, "F16": 2, "BF16": 2}  # what an adapter has
OTHER_DTYPE_BYTES = {"F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
MODEL_DTYPE_BYTES = DTYPE_BYTES | OTHER_DTYPE_BYTES  # what a full model may have: quantised weights and buffers too
NAME = re.compile(r"[A-Za-z0-9_.\-]{1,500}")


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file.

    Attributes:
        name: its name in the file.
        dtype: "F32", "F16" or "BF16"; in a full model any of MODEL_DTYPE_BYTES.
        shape: its sizes.
        start, end: the byte range of its data, counted from the start of the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def element_count(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path, dtype_bytes: Mapping[str, int] = DTYPE_BYTES) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file, by name, in the order of their data.

    Args:
        dtype_bytes: the dtypes that are accepted, with the bytes of one element.

    Raises:
        AdapterFormatError, ProblemsError: not a safetensors file, or one that an adapter cannot have.
    """
    label = label_of(path)
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        prefix = file.read(8)
        _check_magic(prefix, size, label)
        length = int.from_bytes(prefix, "little")
        if length > MAX_HEADER_BYTES:
            raise AdapterFormatError(
                f"{label} announces a header of {length:,} bytes; at most {MAX_HEADER_BYTES:,} are accepted."
            )
        if length < 2 or 8 + length > size:
            raise AdapterFormatError(f"{label} is damaged: its header of {length:,} bytes does not fit into the file.")
        entries = parse_json_object(file.read(length), f"the header of {label}")
    return _read_entries(entries, 8 + length, size, label, dtype_bytes)


def _check_magic(prefix: bytes, size: int, label: str) -> None:
    if size < 10:
        raise AdapterFormatError(f"{label} is not a safetensors file: it has only {size} bytes.")
    if prefix.startswith(b"PK\x03\x04"):
        raise AdapterFormatError(f"{label} is a zip archive (PyTorch saves pickles so), not a safetensors file.")
    if prefix == b"version ":
        raise AdapterFormatError(f"{label} is a Git LFS pointer, not the weights. Run `git lfs pull` where it is from.")
    # a header of 640 or of 66,688 bytes begins like a pickle too, but the upper bytes of any accepted length are zero
    if prefix[0] == 0x80 and prefix[1] in range(2, 6) and any(prefix[3:8]):
        raise AdapterFormatError(f"{label} is a pickle, not a safetensors file. Pickles are never opened.")


def _read_entries(
    entries: dict[str, Any], data_start: int, size: int, label: str, dtype_bytes: Mapping[str, int]
) -> dict[str, TensorInfo]:
    metadata = entries.pop("__metadata__", None)
    if metadata is not None and not _is_text_mapping(metadata):
        raise AdapterFormatError(f"The __metadata__ of {label} must map text to text.")
    if not entries:
        raise AdapterFormatError(f"{label} holds no tensors.")
    if len(entries) > MAX_TENSORS:
        raise AdapterFormatError(f"{label} holds {len(entries):,} tensors; at most {MAX_TENSORS:,} are accepted.")
    tensors, problems = [], []
    for name, entry in entries.items():
        try:
            tensors.append(_read_entry(name, entry, data_start, dtype_bytes))
        except ValueError as error:
            problems.append(str(error))
            if len(problems) == MAX_SHOWN_PROBLEMS:
                break
    raise_problems(label, problems)
    tensors.sort(key=lambda tensor: tensor.start)
    _check_layout(tensors, data_start, size, label)
    return {tensor.name: tensor for tensor in tensors}


def _is_text_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _read_entry(name: str, entry: Any, data_start: int, dtype_bytes: Mapping[str, int]) -> TensorInfo:
    if not NAME.fullmatch(name):
        raise ValueError(f"the tensor name {name[:100]!r} is not one that peft writes.")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the tensor '{name}' needs exactly dtype, shape and data_offsets.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in dtype_bytes:
        what = (
            "an adapter has F32, F16 or BF16" if dtype_bytes is DTYPE_BYTES else f"known are {', '.join(dtype_bytes)}"
        )
        raise ValueError(f"the tensor '{name}' has dtype {str(dtype)[:20]}; {what}.")
    if not _are_sizes(shape, lowest=1) or len(shape) > MAX_DIMENSIONS or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"the tensor '{name}' has shape {str(shape)[:100]}; sizes must be whole numbers above 0.")
    if not _are_sizes(offsets, lowest=0) or len(offsets) != 2:
        raise ValueError(f"the tensor '{name}' has data_offsets {str(offsets)[:100]}, not a start and an end.")
    start, end = offsets
    if end - start != math.prod(shape) * dtype_bytes[dtype]:
        raise ValueError(f"the tensor '{name}' of {dtype} {tuple(shape)} cannot fill {end - start:,} bytes.")
    return TensorInfo(name, dtype, tuple(shape), data_start + start, data_start + end)


def _are_sizes(value: Any, lowest: int) -> bool:
    if not isinstance(value, list):
        return False
    return all(isinstance(each, int) and not isinstance(each, bool) and lowest <= each < 2**62 for each in value)


def _check_layout(tensors: list[TensorInfo], data_start: int, size: int, label: str) -> None:
    """Every byte after the header belongs to exactly one tensor, so no second file can hide in this one."""
    expected = data_start
    for tensor in tensors:
        if tensor.start != expected:
            what = "overlaps the one before it" if tensor.start < expected else "leaves a gap before it"
            raise AdapterFormatError(f"{label} is damaged: the data of '{tensor.name}' {what}.")
        expected = tensor.end
    if expected != size:
        what = f"{size - expected:,} bytes follow the last tensor" if size > expected else "it is cut short"
        raise AdapterFormatError(f"{label} is damaged: {what}.")

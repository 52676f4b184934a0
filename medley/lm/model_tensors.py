"""The tensors of a full model's folder: listed from the headers of its weight files, read one at a time.

Listing needs no torch. Files are mapped, not loaded: a tensor costs memory from the moment it is read.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import BaseModelError
from medley.lm.base_folder import loaded_files

if TYPE_CHECKING:
    import torch

MAX_HEADER_BYTES = 100 * 1024 * 1024
FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # other dtypes belong to quantised models


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a model: its name, its dtype as safetensors writes it ("BF16"), its sizes and its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path

    @property
    def element_count(self) -> int:
        return math.prod(self.shape)


def list_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of the model in `folder` by name, over all of its files.

    Raises:
        BaseModelError: there are no weights, or a file of them is missing, damaged or holds a tensor twice.
    """
    tensors: dict[str, StoredTensor] = {}
    for path in loaded_files(folder):
        for name, entry in _header(path).items():
            if name in tensors:
                raise BaseModelError(f"'{name}' is in two files: {tensors[name].path} and {path.name}.")
            tensors[name] = StoredTensor(name, str(entry["dtype"]), tuple(entry["shape"]), path)
    return tensors


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= MAX_HEADER_BYTES else None
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{path} is not a safetensors file.") from error
    if not isinstance(header, dict):
        raise BaseModelError(f"{path} is not a safetensors file.")
    header.pop("__metadata__", None)
    return header


class TensorReader:
    """Reads tensors of one model, as they are stored."""

    def __init__(self, tensors: Mapping[str, StoredTensor], files: Mapping[Path, Any]) -> None:
        self._tensors = tensors
        self._files = files

    def read(self, name: str) -> "torch.Tensor":
        """The tensor in the dtype of the file; its memory is the mapped file, so it must not be written to."""
        return self._files[self._tensors[name].path].get_tensor(name)


@contextmanager
def open_tensors(tensors: Mapping[str, StoredTensor]) -> Iterator[TensorReader]:
    """A reader for the tensors that `list_tensors` found, with each of their files mapped once.

    Raises:
        BaseModelError: a file is gone or damaged.
    """
    from safetensors import SafetensorError, safe_open

    with ExitStack() as stack:
        files = {}
        for path in sorted({tensor.path for tensor in tensors.values()}):
            try:
                files[path] = stack.enter_context(safe_open(path, framework="pt", device="cpu"))
            except (SafetensorError, OSError) as error:
                raise BaseModelError(f"{path} cannot be read: {error}.") from error
        yield TensorReader(tensors, files)

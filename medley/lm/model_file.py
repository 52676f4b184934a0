"""A full model's folder without torch: which tensors its safetensors files hold, and where their bytes stand.

`open_model` reads configuration and headers, never weights. Reading and writing the weights themselves is streamed,
in `model_stream.py`, so that a model larger than the memory can be copied, cast or changed.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medley.errors import BaseModelError
from medley.lm.base_folder import CHUNK_BYTES, check_base_folder, loaded_files

DTYPE_OF = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # safetensors' word -> torch's
WORD_OF = {dtype: word for word, dtype in DTYPE_OF.items()}
ELEMENT_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
HEAD_WEIGHT = "lm_head.weight"
EMBEDDING_WEIGHTS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
SIDE_FILES = (  # what a model needs beside its weights; nothing else of a folder is taken along
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "NOTICE.txt",
    "NOTICE.md",
)


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a model.

    Attributes:
        name: its name in the file.
        dtype: safetensors' word: "F32", "BF16", "I64", …
        shape: its sizes.
        path, start, end: its bytes: the file, and from where to where in it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        return self.end - self.start

    @property
    def element_count(self) -> int:
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """True for the number types that arithmetic is done with here; False for integers, booleans and 8 bits."""
        return self.dtype in DTYPE_OF


@dataclass(frozen=True)
class NewTensor:
    """A tensor to be written: its name, safetensors' word for its dtype, its sizes and its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


def new_tensor(source: StoredTensor, name: str, dtype: str | None = None) -> NewTensor:
    """A tensor like `source` under another name, and in another of torch's dtypes where one is given."""
    if dtype is None or not source.is_float:
        return NewTensor(name, source.dtype, source.shape, source.size_bytes)
    return NewTensor(name, WORD_OF[dtype], source.shape, source.element_count * ELEMENT_BYTES[dtype])


@dataclass(frozen=True)
class ModelFile:
    """A model folder whose configuration and headers have been read.

    Attributes:
        folder: where it is.
        config: its config.json.
        tensors: by name, in the order of the files and of the bytes in them.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    @property
    def is_tied(self) -> bool:
        """True where the output layer is the embedding matrix itself."""
        text = self.config.get("text_config") or {}
        said = self.config.get("tie_word_embeddings", text.get("tie_word_embeddings"))
        return HEAD_WEIGHT not in self.tensors if said is None else bool(said)

    @property
    def embedding(self) -> str | None:
        """The name of the matrix that tokens are looked up in, or None where it has an unknown name."""
        return next((name for name in self.tensors if name.endswith(EMBEDDING_WEIGHTS)), None)

    @property
    def is_quantized(self) -> bool:
        return self.config.get("quantization_config") is not None

    @property
    def dtype(self) -> str | None:
        """torch's name of the number type that most of the weights have, or None where none is a float."""
        sizes: dict[str, int] = {}
        for tensor in self.tensors.values():
            if tensor.is_float:
                sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.element_count
        return DTYPE_OF[max(sizes, key=sizes.__getitem__)] if sizes else None

    @property
    def parameter_count(self) -> int:
        return sum(tensor.element_count for tensor in self.tensors.values())

    @property
    def side_files(self) -> list[str]:
        """The files beside the weights that belong to the model."""
        return [name for name in SIDE_FILES if (self.folder / name).is_file()]


def holds_the_same(first: StoredTensor, second: StoredTensor) -> bool:
    """Whether two tensors are equal to the bit; their files are read up to the first difference."""
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    with first.path.open("rb") as one, second.path.open("rb") as other:
        one.seek(first.start)
        other.seek(second.start)
        left = first.size_bytes
        while left:
            size = min(left, CHUNK_BYTES)
            if one.read(size) != other.read(size):
                return False
            left -= size
    return True


def open_model(folder: Path) -> ModelFile:
    """The model in `folder`, its weights not read.

    Raises:
        BaseModelError, ProblemsError: it is no model folder, or a weights file is damaged.
    """
    check_base_folder(folder)
    tensors: dict[str, StoredTensor] = {}
    for path in loaded_files(folder):
        for tensor in _read_header(path):
            if tensor.name in tensors:
                other = tensors[tensor.name].path.name
                raise BaseModelError(f"'{tensor.name}' stands in {other} and in {path.name}; a model has it once.")
            tensors[tensor.name] = tensor
    return ModelFile(folder, json.loads((folder / "config.json").read_text(encoding="utf-8")), tensors)


def _read_header(path: Path) -> list[StoredTensor]:
    """A file's tensors in the order of their bytes, after safetensors itself has found the file whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise BaseModelError(f"{path.name} is not a readable safetensors file: {error}.") from error
    entries.pop("__metadata__", None)
    begin = 8 + length
    tensors = [
        StoredTensor(name, each["dtype"], tuple(each["shape"]), path, *(begin + at for at in each["data_offsets"]))
        for name, each in entries.items()
    ]
    return sorted(tensors, key=lambda tensor: (tensor.start, tensor.name))

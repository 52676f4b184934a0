"""The checks of a full model in a folder of private copies: its settings and the headers and index of its weights.

Nothing here loads a model. What could run code, fetch code or follow another repo when somebody loads it is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.kind_lists import INDEX_FILE, MODEL, MODEL_CONFIG, SINGLE_FILE
from hub.names import quoted
from medley.errors import AdapterFormatError, ProblemsError
from medley.lm.adapter_file import (
    MODEL_DTYPE_BYTES,
    TensorInfo,
    check_finite_file,
    every_key,
    read_header,
    read_json_object,
)

SETTINGS = (
    *(MODEL_CONFIG, "generation_config.json", "tokenizer_config.json"),
    *("preprocessor_config.json", "processor_config.json"),
)
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
MAX_SETTINGS_BYTES = 16 * 1024 * 1024
CODE_KEYS = ("auto_map", "custom_pipelines", "custom_pipeline", "custom_generate", "trust_remote_code")
MAX_SHOWN = 5


@dataclass(frozen=True)
class ModelFiles:
    """A checked model.

    Attributes:
        config: its config.json.
        tensors: the weights' headers, by tensor name.
        shards: the weight files, sorted.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    shards: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.end - tensor.start for tensor in self.tensors.values())

    @property
    def parameter_count(self) -> int:
        return sum(tensor.element_count for tensor in self.tensors.values())


def open_model(folder: Path) -> ModelFiles:
    """The model in `folder`, checked: settings, index, headers, and that its weights are finite.

    Raises:
        AdapterFormatError, ProblemsError: everything that is wrong with the settings and the index, or the first thing
            that is wrong with a weights file.
    """
    settings = {
        name: read_json_object(folder / name, MAX_SETTINGS_BYTES) for name in SETTINGS if (folder / name).is_file()
    }
    shards = sorted(path.name for path in folder.iterdir() if MODEL.has_weights(path.name))
    problems = [*_config_problems(settings), *_set_problems(folder, shards)]
    _raise(folder.name, problems)
    tensors = _read_headers(folder, shards)
    _raise(folder.name, list(_index_problems(folder, tensors)))
    for shard in shards:
        check_finite_file(folder / shard, tensors[shard])
    return ModelFiles(folder, settings[MODEL_CONFIG], _joined(tensors), tuple(shards))


def _raise(name: str, problems: list[str]) -> None:
    if len(problems) == 1:
        raise AdapterFormatError(f"{quoted(name)} cannot be imported: {problems[0]}")
    if problems:
        raise ProblemsError(quoted(name), problems)


def _config_problems(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if MODEL_CONFIG not in settings:
        yield f"it has no {MODEL_CONFIG}."
    elif not isinstance(settings[MODEL_CONFIG].get("model_type"), str):
        yield f"{MODEL_CONFIG} does not say which kind of model it is ('model_type')."
    for name, content in settings.items():
        for key, value in every_key(content):
            if key in CODE_KEYS and value:
                yield f"{name} has '{key}', which makes transformers import code. Remove the key."
            if key.endswith(("_implementation", "_implementation_internal")) and "/" in str(value):
                yield f"{name} asks for a kernel to be fetched ('{key}'). Remove the key."


def _set_problems(folder: Path, shards: list[str]) -> Iterator[str]:
    """What is wrong with which weight files there are."""
    has_index = (folder / INDEX_FILE).is_file()
    if not any((folder / name).is_file() for name in TOKENIZERS):
        yield f"it has no tokenizer ({TOKENIZERS[0]})."
    if not shards:
        yield f"it has no weights ({SINGLE_FILE})."
    elif not has_index and shards != [SINGLE_FILE]:
        yield f"it has {len(shards)} weight files and no {INDEX_FILE} that says what is in them."


def _read_headers(folder: Path, shards: list[str]) -> dict[str, dict[str, TensorInfo]]:
    """File name -> its tensors.

    Raises:
        AdapterFormatError: a file that is no safetensors, or a tensor that is in two files.
    """
    found: dict[str, dict[str, TensorInfo]] = {}
    home: dict[str, str] = {}
    for shard in shards:
        found[shard] = read_header(folder / shard, MODEL_DTYPE_BYTES)
        for name in found[shard]:
            if name in home:
                raise AdapterFormatError(f"The tensor '{name}' is in {home[name]} and in {shard}; a model has it once.")
            home[name] = shard
    return found


def _index_problems(folder: Path, tensors: Mapping[str, Mapping[str, TensorInfo]]) -> Iterator[str]:
    """Where the index and the headers say different things."""
    if not (folder / INDEX_FILE).is_file():
        return
    weight_map = read_json_object(folder / INDEX_FILE, MAX_SETTINGS_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        yield f"{INDEX_FILE} has no weight_map of tensor names to files."
        return
    named = set(weight_map.values())
    for shard in sorted(named - set(tensors))[:MAX_SHOWN]:
        yield f"{INDEX_FILE} names the file {quoted(shard)}, which is not there."
    for shard in sorted(set(tensors) - named)[:MAX_SHOWN]:
        yield f"{shard} is not in {INDEX_FILE}, so nothing would load it. Remove it or mend the index."
    home = {name: shard for shard, infos in tensors.items() for name in infos}
    wrong = sorted(name for name, shard in weight_map.items() if shard in tensors and home.get(name) != shard)
    for name in wrong[:MAX_SHOWN]:
        yield f"{INDEX_FILE} says that {name[:100]!a} is in {weight_map[name]}, where it is not."
    unlisted = sorted(name for name, shard in home.items() if name not in weight_map and shard in named)
    for name in unlisted[:MAX_SHOWN]:
        yield f"the tensor '{name}' of {home[name]} is not in {INDEX_FILE}, so nothing would load it."


def _joined(tensors: Mapping[str, Mapping[str, TensorInfo]]) -> dict[str, TensorInfo]:
    return {name: info for infos in tensors.values() for name, info in infos.items()}

"""The adapter format without torch: what a folder with adapter_config.json and adapter_model.safetensors holds.

`open_adapter` reads the configuration and the header, never the weights, and gives the rank and the scale of every
module as peft 0.21 would compute them. Intake, preflight, cards and the engine share it; it is all that `hub` takes
from this package. The weights themselves are read in `adapter_tensors.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medley.errors import AdapterFormatError
from medley.lm.adapter_config import CONFIG_FILE, AdapterConfig, read_config
from medley.lm.adapter_schema import hub_id
from medley.lm.module_patterns import resolve_patterns
from medley.lm.module_targets import check_targets
from medley.lm.safetensors_header import MAX_SHOWN_PROBLEMS, MODEL_DTYPE_BYTES, TensorInfo, read_header
from medley.lm.strict_files import (
    every_key,
    file_sha256,
    label_of,
    open_regular,
    raise_problems,
    read_json_object,
)

__all__ = [
    "CONFIG_FILE",
    "MODEL_DTYPE_BYTES",
    "WEIGHTS_FILE",
    "AdapterConfig",
    "AdapterFile",
    "LoraModule",
    "TensorInfo",
    "check_finite",
    "check_finite_file",
    "every_key",
    "file_sha256",
    "hub_id",
    "open_adapter",
    "read_config",
    "read_header",
    "read_json_object",
]

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLED_WEIGHTS = "adapter_model.bin"
PREFIX = "base_model.model."
SCORE_HEAD = PREFIX + "score.weight"
SUFFIX_A, SUFFIX_B = ".lora_A.weight", ".lora_B.weight"
CHUNK_BYTES = 8 * 1024 * 1024
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}  # as numpy calls them


@dataclass(frozen=True)
class LoraModule:
    """One module of the base that a LoRA changes: W + scale * B @ A.

    Attributes:
        name: as in the base model, for example "model.layers.0.self_attn.q_proj".
        rank, in_features, out_features: A is (rank, in_features), B is (out_features, rank).
        scale: alpha / rank, or alpha / sqrt(rank) with rsLoRA; patterns resolved.
        key_a, key_b: the tensors' names in the file.
    """

    name: str
    rank: int
    in_features: int
    out_features: int
    scale: float
    key_a: str
    key_b: str


@dataclass(frozen=True)
class AdapterFile:
    """An adapter folder whose configuration and header have been checked.

    Attributes:
        folder: where it is.
        config: the checked configuration.
        tensors: everything in the weights file, by name.
        modules: the plain LoRA pairs, by module name; empty for IA3, prompt tuning and the like.
        extra_tensors: names of all other tensors (DoRA magnitudes, saved modules, embeddings, biases, convolutions).
    """

    folder: Path
    config: AdapterConfig
    tensors: dict[str, TensorInfo]
    modules: dict[str, LoraModule]
    extra_tensors: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors; the file is larger by its header."""
        return sum(tensor.end - tensor.start for tensor in self.tensors.values())

    @property
    def parameter_count(self) -> int:
        return sum(tensor.element_count for tensor in self.tensors.values())

    @property
    def is_reward_model(self) -> bool:
        """True for a LoRA with a head of one output: it scores answers and cannot write any."""
        head = self.tensors.get(SCORE_HEAD)
        is_scalar = head is not None and len(head.shape) == 2 and head.shape[0] == 1
        return self.config.peft_type == "LORA" and self.config.task_type == "SEQ_CLS" and is_scalar


def open_adapter(folder: Path) -> AdapterFile:
    """The adapter in `folder`, checked as far as that goes without reading its weights.

    Raises:
        AdapterFormatError, ProblemsError: no weights, a bad configuration or header, shapes that contradict the
            ranks, or module names that `target_modules` does not mean.
    """
    weights = folder / WEIGHTS_FILE
    if not weights.exists() and (folder / PICKLED_WEIGHTS).exists():
        raise AdapterFormatError(
            f"{label_of(folder / PICKLED_WEIGHTS)} is a pickle and is never opened. "
            f"Save the adapter as {WEIGHTS_FILE} (peft does so by default) and try again."
        )
    config = read_config(folder)
    tensors = read_header(weights)
    modules = _pair_modules(config, tensors, label_of(weights)) if config.peft_type == "LORA" else {}
    paired = {key for module in modules.values() for key in (module.key_a, module.key_b)}
    extra = tuple(name for name in tensors if name not in paired)
    adapter = AdapterFile(folder, config, tensors, modules, extra)
    try:
        check_targets(config, list(modules), [name.removeprefix(PREFIX) for name in tensors])
    except ValueError as error:
        raise AdapterFormatError(f"{label_of(folder / CONFIG_FILE)}: {error}") from error
    return adapter


def _pair_modules(config: AdapterConfig, tensors: Mapping[str, TensorInfo], label: str) -> dict[str, LoraModule]:
    """The plain LoRA modules; their shapes must agree with the ranks of the configuration."""
    names, problems = _find_pairs(tensors)
    raise_problems(label, problems[:MAX_SHOWN_PROBLEMS])
    if not names:
        if not any(".lora_" in name for name in tensors):
            raise AdapterFormatError(f"{label} holds no LoRA weights ('….lora_A.weight' and '….lora_B.weight').")
        return {}
    try:
        ranks = resolve_patterns(config.rank_pattern, names, config.r, "rank_pattern")
        alphas = resolve_patterns(config.alpha_pattern, names, config.lora_alpha, "alpha_pattern")
    except ValueError as error:
        raise AdapterFormatError(f"{label_of(Path(label[1:-1]).with_name(CONFIG_FILE))}: {error}") from error
    modules = {}
    for name in names:
        a, b = tensors[PREFIX + name + SUFFIX_A], tensors[PREFIX + name + SUFFIX_B]
        if len(a.shape) != 2 or len(b.shape) != 2 or config.has_own_shapes:
            continue
        rank = ranks[name]
        if (a.shape[0], b.shape[1]) != (rank, rank):
            problems.append(f"'{name}' has A {a.shape} and B {b.shape}, but the configuration says rank {rank}.")
            continue
        scale = alphas[name] / (rank**0.5 if config.use_rslora else rank)
        modules[name] = LoraModule(name, rank, a.shape[1], b.shape[0], scale, a.name, b.name)
    raise_problems(label, problems[:MAX_SHOWN_PROBLEMS])
    return modules


def _find_pairs(tensors: Mapping[str, TensorInfo]) -> tuple[list[str], list[str]]:
    """Names of the modules that have A and B, in the file's order, and what is wrong with the others."""
    names, problems = [], []
    for key in tensors:
        if not key.endswith((SUFFIX_A, SUFFIX_B)):
            continue
        stem, other = key[: -len(SUFFIX_A)], SUFFIX_B if key.endswith(SUFFIX_A) else SUFFIX_A
        if not key.startswith(PREFIX):
            problems.append(f"the tensor name '{key}' does not start with '{PREFIX}', so peft would ignore it.")
        elif stem + other not in tensors:
            problems.append(f"'{key}' has no '{other[1:]}' beside it.")
        elif key.endswith(SUFFIX_A):
            names.append(stem.removeprefix(PREFIX))
    return names, problems


def check_finite(adapter: AdapterFile) -> None:
    """Read all weights once and refuse NaN and Infinity; memory stays at a few MB.

    Raises:
        AdapterFormatError: the first tensor that holds a value that is not finite.
    """
    check_finite_file(adapter.folder / WEIGHTS_FILE, adapter.tensors)


def check_finite_file(path: Path, tensors: Mapping[str, TensorInfo]) -> None:
    """As `check_finite`, for any safetensors file and its header; whole numbers and 8-bit floats are not looked at."""
    with open_regular(path) as file:
        for tensor in tensors.values():
            if tensor.dtype not in (*FLOATS, "BF16"):
                continue
            file.seek(tensor.start)
            remaining = tensor.end - tensor.start
            while remaining:
                data = file.read(min(remaining, CHUNK_BYTES))
                if not data:
                    raise AdapterFormatError(f"{label_of(path)} is cut short.")
                if not _all_finite(data, tensor.dtype):
                    raise AdapterFormatError(f"{label_of(path)}: '{tensor.name}' holds NaN or Infinity.")
                remaining -= len(data)


def _all_finite(data: bytes, dtype: str) -> bool:
    import numpy

    if dtype == "BF16":  # numpy has no bfloat16: not finite means that all eight exponent bits are set
        return not bool(((numpy.frombuffer(data, "<u2") & 0x7F80) == 0x7F80).any())
    return bool(numpy.isfinite(numpy.frombuffer(data, FLOATS[dtype])).all())

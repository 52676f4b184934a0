"""What can be known about an extraction from two models' configurations and headers: no weights read, no torch.

Which of the tensors changed, only the weights tell; `merging.extract` looks at the small ones first.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medley.errors import ParameterError, UserError
from medley.lm.base_facts import EMBEDDINGS
from medley.lm.base_folder import template_text
from medley.lm.model_tensors import FLOAT_BYTES, StoredTensor, list_tensors
from merging.check import BYTES_OF, NAME_OF, place_problems, space_problems
from merging.extracting.options import ExtractOptions
from merging.recipes.recipe import parse_rank

MUST_AGREE = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
SAYS_NOTHING = (  # keys that may differ between two copies of one architecture
    "_name_or_path", "architectures", "transformers_version", "torch_dtype", "dtype", "use_cache", "vocab_size",
    "bos_token_id", "eos_token_id", "pad_token_id", "head_dim", "tie_word_embeddings",
)  # fmt: skip
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
TRANSPOSED = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")  # model types built from Conv1D
BUFFERS = ("rotary_emb.inv_freq",)  # ends of names that old files hold and models work out themselves
OUTPUT_LAYER = "lm_head.weight"
SHOWN = 3


@dataclass(frozen=True)
class ExtractPreflight:
    """What was found. An extraction with problems is refused; warnings are shown.

    Attributes:
        problems, warnings: one plain sentence each.
        base, model: the tensors of both, by name.
        linears: names of the modules that can get factors, in the order of the model's files.
        others: names of the tensors that both have and that can only be kept whole: embeddings, norms, biases.
        is_tied: True where the output layer is the embeddings.
        dtype: of the result.
        rank_plan: module to the largest rank it can get.
        estimated_bytes: the largest size of the factors.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    base: Mapping[str, StoredTensor] = field(default_factory=dict)
    model: Mapping[str, StoredTensor] = field(default_factory=dict)
    linears: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    is_tied: bool = False
    dtype: str = "float32"
    rank_plan: Mapping[str, int] = field(default_factory=dict)
    estimated_bytes: int = 0

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON; None for what is not known yet."""
        return {
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "rank_plan": dict(self.rank_plan),
            "others": list(self.others),
            "dtype": self.dtype if self.estimated_bytes else None,
            "estimated_bytes": self.estimated_bytes or None,
        }


def extract_preflight(
    base: Path, model: Path, options: ExtractOptions, out_dir: Path | None = None
) -> ExtractPreflight:
    """Everything that stands against an extraction, and what it would make. Never raises for what a user can cause.

    Args:
        base, model: folders with config.json and safetensors.
        out_dir: where the result is to go; None leaves the place and the free space out.
    """
    problems: list[str] = place_problems(out_dir) if out_dir is not None else []
    opened = []
    for role, folder in (("base", base), ("model", model)):
        try:
            opened.append((_read_config(role, folder), list_tensors(folder), template_text(folder)))
        except UserError as error:
            problems.append(str(error))
    problems += options.problems()
    if problems or len(opened) < 2:
        return ExtractPreflight(tuple(problems))
    (base_config, base_tensors, base_template), (model_config, model_tensors, model_template) = opened
    problems += _config_problems(base_config, model_config)
    is_tied, is_model_tied = _is_tied(base_config, base_tensors), _is_tied(model_config, model_tensors)
    if is_tied != is_model_tied:
        which, other = ("base", "model") if is_tied else ("model", "base")
        told = f"The {which} has one matrix as embeddings and output layer, the {other} has two."
        problems.append(f"{told} Both must be of one architecture.")
    base_tensors, model_tensors = _relevant(base_tensors, is_tied), _relevant(model_tensors, is_tied)
    problems += _dtype_problems("base", base_tensors) + _dtype_problems("model", model_tensors)
    more_problems, warnings = _shape_findings(base_tensors, model_tensors, options.others)
    problems += more_problems
    warnings += _config_warnings(base_config, model_config) + _dtype_warnings(base_tensors, model_tensors)
    if model_template not in (None, base_template):
        told = "The model has a chat template of its own, which the adapter does not carry: prompts get the base's."
        warnings.append(told)
    if problems:
        return ExtractPreflight(tuple(problems), tuple(warnings), base_tensors, model_tensors)
    return _outlook(base_tensors, model_tensors, options, out_dir, warnings, is_tied)


def _read_config(role: str, folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        is_adapter = (folder / "adapter_config.json").is_file()
        what = "it is an adapter already" if is_adapter else "it has no config.json"
        raise ParameterError(f"The {role} at '{folder}' is no full model: {what}.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(f"The config.json of the {role} at '{folder}' cannot be read.") from error
    if not isinstance(config, dict):
        raise ParameterError(f"The config.json of the {role} at '{folder}' is not a JSON object.")
    return config


def _config_problems(base: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key} is {base.get(key)} in the base and {model.get(key)} in the model. Both must be of one architecture."
        for key in MUST_AGREE
        if key in base and key in model and base[key] != model[key]
    ]
    experts = next((key for key in EXPERTS if base.get(key) or model.get(key)), None)
    if experts:
        problems.append(
            f"The models mix experts ({experts} {base.get(experts) or model.get(experts)}), whose weights are no "
            "linear layers of their own. Only dense models can be extracted from."
        )
    for role, config in (("base", base), ("model", model)):
        if config.get("quantization_config"):
            problems.append(f"The {role} is stored quantised. Give its 16-bit or 32-bit weights.")
        if config.get("model_type") in TRANSPOSED:
            problems.append(f"The {role} is a {config['model_type']}, which stores its weights transposed (Conv1D).")
    return problems


def _config_warnings(base: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """Settings that change what a model computes and that no adapter can carry."""
    keys = sorted({*base, *model} - {*MUST_AGREE, *SAYS_NOTHING, "quantization_config"})
    different = [key for key in keys if base.get(key) != model.get(key)]
    if not different:
        return []
    return [f"The configurations also differ in {', '.join(different)}, which an adapter cannot carry."]


def _is_tied(config: Mapping[str, Any], tensors: Mapping[str, StoredTensor]) -> bool:
    """Whether the output layer is the embeddings; where the configuration is silent, the tensors tell."""
    return bool(config.get("tie_word_embeddings", OUTPUT_LAYER not in tensors))


def _relevant(tensors: Mapping[str, StoredTensor], is_tied: bool) -> dict[str, StoredTensor]:
    """Without buffers, and without a second copy of tied embeddings, which a model would not read."""
    left_out = (*BUFFERS, OUTPUT_LAYER) if is_tied else BUFFERS
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(left_out)}


def _dtype_problems(role: str, tensors: Mapping[str, StoredTensor]) -> list[str]:
    odd = [tensor for tensor in tensors.values() if tensor.dtype not in FLOAT_BYTES]
    if not odd:
        return []
    return [
        f"The {role} holds {len(odd)} of {len(tensors)} tensors in other than 16, 32 or 64-bit floating point, for "
        f"example {odd[0].name} ({odd[0].dtype}). Give its 16-bit or 32-bit weights."
    ]


def _dtype_warnings(base: Mapping[str, StoredTensor], model: Mapping[str, StoredTensor]) -> list[str]:
    pairs = {(base[name].dtype, model[name].dtype) for name in base if name in model}
    return [
        f"The base is stored as {first} and the model as {second}; a tensor that differs only by that rounding counts "
        "as unchanged."
        for first, second in sorted(pairs)
        if first != second
    ]


def _shape_findings(
    base: Mapping[str, StoredTensor], model: Mapping[str, StoredTensor], others: str
) -> tuple[list[str], list[str]]:
    """Tensors that only one of them has, or that have two shapes: problems and warnings."""
    problems, warnings = [], []
    for role, has, lacks in (("base", base, model), ("model", model, base)):
        missing = [name for name in has if name not in lacks]
        if missing:
            problems.append(f"Only the {role} has {listed(missing)}. Both must be of one architecture.")
    for name in (name for name in base if name in model and base[name].shape != model[name].shape):
        sizes = f"{name} is {_shape(base[name])} in the base and {_shape(model[name])} in the model"
        if not is_embedding(name):
            problems.append(f"{sizes}. Both must be of one architecture.")
        elif others == "ignore":
            warnings.append(f"{sizes}; it is left out, so the result keeps the base's vocabulary.")
        else:
            problems.append(
                f"{sizes}: another vocabulary. Choose others=ignore to keep the base's vocabulary and its embeddings."
            )
    return problems, warnings


def _outlook(
    base: Mapping[str, StoredTensor],
    model: Mapping[str, StoredTensor],
    options: ExtractOptions,
    out_dir: Path | None,
    warnings: list[str],
    is_tied: bool,
) -> ExtractPreflight:
    alike = [name for name in base if base[name].shape == model[name].shape]
    linears = tuple(name.removesuffix(".weight") for name in alike if is_linear(base[name]))
    if not linears:
        return ExtractPreflight(("The models have no linear weights.",), tuple(warnings), base, model)
    dtype = options.dtype or _widest(model)
    wanted = parse_rank(options.rank)
    most = int(wanted.value) if wanted.kind == "at_most" else options.max_rank
    ranks = {module: min(most, *base[f"{module}.weight"].shape) for module in linears}
    size = sum(rank * sum(base[f"{module}.weight"].shape) for module, rank in ranks.items()) * BYTES_OF[dtype]
    problems = space_problems(out_dir, size) if out_dir is not None else []
    others = tuple(name for name in alike if not is_linear(base[name]))
    return ExtractPreflight(
        tuple(problems), tuple(warnings), base, model, linears, others, is_tied, dtype, ranks, size
    )  # fmt: skip


def is_linear(tensor: StoredTensor) -> bool:
    """Whether a LoRA can stand beside it: the matrix of a linear layer that is no embedding and no output layer."""
    return len(tensor.shape) == 2 and tensor.name.endswith(".weight") and not is_embedding(tensor.name)


def is_embedding(name: str) -> bool:
    """Whether a tensor belongs to the embeddings or the output layer."""
    return bool(set(name.split(".")) & set(EMBEDDINGS))


def _widest(tensors: Mapping[str, StoredTensor]) -> str:
    dtypes = {tensor.dtype for tensor in tensors.values()}
    return NAME_OF.get(dtypes.pop(), "float32") if len(dtypes) == 1 else "float32"


def _shape(tensor: StoredTensor) -> str:
    return " x ".join(map(str, tensor.shape))


def listed(names: Collection[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(list(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"

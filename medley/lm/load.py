"""A base model in memory: where it runs, in which numbers, and the one way it is loaded.

Weights come from safetensors in a local folder; nothing is fetched and no code of a model runs. Which folders are
acceptable is `medley.lm.base_folder`. torch and transformers are imported when the work starts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import BaseModelError, ParameterError
from medley.lm.base_folder import check_base_folder, weights_digest
from medley.lm.importing import import_quickly
from medley.lm.quiet import quiet_libraries
from medley.lm.template_check import template_problem

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "Device",
    "LoadedBase",
    "choose_device",
    "leave_unpacked",
    "load_base",
    "load_score_base",
    "load_tokenizer",
    "nf4_config",
    "template_hash",
    "weights_digest",
]

DEVICES = ("cuda", "mps", "cpu")
DTYPES = ("bfloat16", "float32", "float16")


@dataclass(frozen=True)
class Device:
    """Where a model runs and how its weights are held.

    Attributes:
        name: "cuda", "mps" or "cpu".
        dtype: torch's name of the number type of weights and activations; of the activations alone in 4-bit.
        quant: None, or "4bit" for NF4.
    """

    name: str
    dtype: str
    quant: str | None = None

    @property
    def trained_on(self) -> str:
        """How adapters trained on this base record it: bf16, fp32, fp16 or nf4."""
        return "nf4" if self.quant else {"bfloat16": "bf16", "float32": "fp32", "float16": "fp16"}[self.dtype]


@dataclass
class LoadedBase:
    """A base model ready to run, in evaluation mode, with no gradients.

    Attributes:
        model: the causal language model; after `load_score_base` the same layers with a score head.
        tokenizer: its tokenizer.
        folder: where it was loaded from.
        device: where and how it runs.
        template_hash: sha256 of the chat template, or None without one.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    device: Device
    template_hash: str | None


def choose_device(quant: str | None = None, device: str | None = None) -> Device:
    """The best device here: CUDA in bf16, Apple MPS in bf16, a CPU in bf16 where it has the instructions, else fp32.

    Args:
        quant: None or "none", or "4bit" for NF4 with double quantisation.
        device: None or "auto", or the one to use.

    Raises:
        ParameterError: an unknown word, a device that is not there, or 4-bit where it does not run.
    """
    import torch

    if quant not in (None, "none", "4bit"):
        raise ParameterError(f"quant must be none or 4bit, got {quant}.")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(each for each in DEVICES if available[each]) if device in (None, "auto") else device
    if name not in available:
        raise ParameterError(f"device must be one of auto, {', '.join(DEVICES)}, got {device}.")
    if not available[name]:
        raise ParameterError(f"There is no {name} device on this machine. Use cpu or auto.")
    is_4bit = quant == "4bit"
    if is_4bit and name == "mps":
        raise ParameterError("4-bit bases run on CUDA and on a CPU, not on MPS. Leave quant at none.")
    dtype = "bfloat16" if name != "cpu" or _cpu_has_bf16() else "float32"
    return Device(name, dtype, "4bit" if is_4bit else None)


def _cpu_has_bf16() -> bool:
    """True where bf16 matrix products are instructions of the processor; emulated ones are slower than fp32."""
    import torch

    x86 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in x86)


def load_base(
    folder: Path, *, quant: str | None = None, device: str | None = None, dtype: str | None = None
) -> LoadedBase:
    """The base model in `folder`, loaded and ready.

    Args:
        folder: config, safetensors and tokenizer, as transformers writes them.
        quant, device: as in `choose_device`.
        dtype: torch's name of a number type ("float32", …) instead of the device's own choice.

    Raises:
        BaseModelError, ProblemsError: the folder is incomplete, asks to run code, or does not load.
        ParameterError: as in `choose_device`, or an unknown dtype.
    """
    return _open(folder, _choose(quant, device, dtype), "AutoModelForCausalLM", may_miss=())


def load_score_base(
    folder: Path, *, quant: str | None = None, device: str | None = None, dtype: str | None = None
) -> LoadedBase:
    """The base in `folder` as a model that gives one number for a text; its score head is still all zero.

    The number is read at the last token that is not padding, so the tokenizer's padding token is changed to one that
    ends no answer; see `medley.lm.score_head`. Arguments and errors are those of `load_base`.
    """
    from medley.lm.score_head import HEAD_WEIGHT, prepare_scoring

    base = _open(
        folder,
        _choose(quant, device, dtype),
        "AutoModelForSequenceClassification",
        may_miss=(HEAD_WEIGHT,),
        num_labels=1,
    )
    prepare_scoring(base)
    return base


def _choose(quant: str | None, device: str | None, dtype: str | None) -> Device:
    chosen = choose_device(quant, device)
    if dtype is None:
        return chosen
    if dtype not in DTYPES:
        raise ParameterError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype}.")
    return Device(chosen.name, dtype, chosen.quant)


def _open(folder: Path, device: Device, kind: str, *, may_miss: tuple[str, ...], **settings: Any) -> LoadedBase:
    check_base_folder(folder)
    with quiet_libraries():
        try:
            tokenizer, model = _load(folder, device, kind, may_miss, settings)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError) as error:
            raise BaseModelError(f"{folder} cannot be loaded: {_first_sentence(error)}") from error
        except Exception as error:  # safetensors has an exception of its own that derives from nothing of the above
            if type(error).__module__.startswith("safetensors"):
                raise BaseModelError(f"The weights in {folder} are damaged: {_first_sentence(error)}") from error
            raise
    if device.quant and device.name == "cpu":
        _leave_odd_sizes_unpacked(model)
    model.requires_grad_(False)
    return LoadedBase(model.eval(), tokenizer, folder, device, template_hash(tokenizer))


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of the base model in `folder`, without its weights and without torch.

    Raises:
        BaseModelError: the folder holds none that loads, or its chat template could do harm.
    """
    with import_quickly(), quiet_libraries():
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BaseModelError(f"The tokenizer in {folder} cannot be loaded: {_first_sentence(error)}") from error
    templates = tokenizer.chat_template or ""
    for template in templates.values() if isinstance(templates, dict) else [templates]:
        problem = template_problem(template)
        if problem:
            raise BaseModelError(f"The chat template in {folder} {problem}. It is not rendered.")
    return tokenizer


def _load(
    folder: Path, device: Device, kind: str, may_miss: tuple[str, ...], settings: dict[str, Any]
) -> tuple[Any, Any]:
    import torch

    with import_quickly():
        import transformers.modeling_utils

    settings = {**settings, "trust_remote_code": False, "local_files_only": True, "use_safetensors": True}
    tokenizer = load_tokenizer(folder)
    if device.quant:
        settings |= {"quantization_config": nf4_config(device.dtype), "device_map": {"": device.name}}
    model, loading = getattr(transformers, kind).from_pretrained(
        folder, dtype=getattr(torch, device.dtype), output_loading_info=True, **settings
    )
    missing = sorted(set(loading["missing_keys"]).difference(may_miss))
    if missing:  # transformers fills them with random numbers
        raise ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}.")
    return tokenizer, model if device.quant else model.to(device.name)


def _leave_odd_sizes_unpacked(model: PreTrainedModel) -> None:
    """On a CPU bitsandbytes repacks 4-bit weights into blocks at first use, and fails where a size does not fit."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu") and (module.out_features % 32 or module.in_features % 64):
            module.support_avx512bf16_for_cpu = False


def leave_unpacked(model: Any) -> None:
    """Keep the weights of a 4-bit base as they are on a CPU, and bring those back that are packed already.

    Where the processor multiplies bf16, bitsandbytes repacks a weight at its first use in evaluation mode, and what is
    packed has no gradient: after one measurement, all that is learned below the last layer would be wrong. It also
    unpacks them whenever peft looks at the model's state, so that a base which adapters visit would never be at rest.
    """
    for module in model.modules():
        if not hasattr(module, "support_avx512bf16_for_cpu"):
            continue
        module.support_avx512bf16_for_cpu = False
        if getattr(module.weight.quant_state, "packing_format_for_cpu", False):
            from bitsandbytes.functional import _convert_weight_packed_for_cpu_inverse as unpack

            module.weight.data, module.weight.quant_state = unpack(module.weight.data, module.weight.quant_state)
            module.quant_state = module.weight.quant_state


def nf4_config(compute_dtype: str) -> BitsAndBytesConfig:
    """4-bit NormalFloat with double quantisation (QLoRA, 2305.14314, section 3), multiplied in `compute_dtype`."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, compute_dtype),
    )


def template_hash(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """sha256 of the chat template's text, or None without one: adapters record what they were trained with."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return hashlib.sha256(template.encode()).hexdigest() if template else None


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") + "."

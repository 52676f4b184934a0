"""What each key of an adapter_config.json may hold: one table per kind of adapter.

A check gives None, or what the value must be ("must be true or false"). A null means "not set" and is never checked.
To accept another kind of adapter, add a line to KINDS.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], str | None]

MAX_RANK = 16_384
MAX_ALPHA = 1e6
TASK_TYPES = ("CAUSAL_LM", "FEATURE_EXTRACTION", "QUESTION_ANS", "SEQ_2_SEQ_LM", "SEQ_CLS", "TOKEN_CLS")
HUB_ID = re.compile(r"[A-Za-z0-9_][\w.\-]*(/[A-Za-z0-9_][\w.\-]*)?", re.ASCII)
MODULE = re.compile(r"[A-Za-z0-9_.\-]{1,500}")


def hub_id(text: str | None) -> str | None:
    """The text if it can be a Hugging Face Hub id ("gpt2", "org/name"), else None: a path, a URL, a look-alike."""
    if not text or len(text) > 96 or not HUB_ID.fullmatch(text):
        return None
    return None if "--" in text or ".." in text or text.endswith((".git", ".", "-")) else text


def find_problems(raw: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a configuration, one sentence each."""
    kind = raw.get("peft_type")
    if not isinstance(kind, str) or kind not in KINDS:
        shown = "is missing" if kind is None else f"is {kind!r:.60}"
        return [f"peft_type {shown}; it must be one of {', '.join(KINDS)}."]
    checks = KINDS[kind]
    problems = [f"{key} is missing." for key in ("r",) if kind == "LORA" and raw.get(key) is None]
    for key, value in raw.items():
        if value is None:
            continue
        wish = checks[key](value) if key in checks else _unknown(value)
        if wish:
            problems.append(f"{key[:60]!r} {wish}, got {value!r:.60}.")
    return problems


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _rank(value: Any) -> str | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return None if is_whole and 1 <= value <= MAX_RANK else f"must be a whole number in [1, {MAX_RANK}]"


def _alpha(value: Any) -> str | None:
    is_good = _is_number(value) and 0 < value <= MAX_ALPHA
    return None if is_good else f"must be a number in (0, {MAX_ALPHA:g}]"


def _number(value: Any) -> str | None:
    return None if _is_number(value) and abs(value) <= 1e15 else "must be a finite number"


def _share(value: Any) -> str | None:
    return None if _is_number(value) and 0 <= value <= 1 else "must be a number in [0, 1]"


def _one_of(*words: str) -> Check:
    return lambda value: None if value in words else f"must be one of {', '.join(words)}"


def _is_text(value: Any, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most and value.isprintable()


def _base(value: Any) -> str | None:
    return None if _is_text(value, 4096) else "must be text of at most 4,096 printable characters"


def _revision(value: Any) -> str | None:
    is_good = isinstance(value, str) and re.fullmatch(r"\w[\w./+\-]{0,254}", value, re.ASCII) and ".." not in value
    return None if is_good else "must be a branch, tag or commit"


def _word(value: Any) -> str | None:
    return None if _is_text(value, 200) and not re.search(r"[/\\]", value) else "must be one word without slashes"


def _hub_name(value: Any) -> str | None:
    return None if isinstance(value, str) and hub_id(value) else "must be a Hub id, never a path"


def _names(value: Any) -> str | None:
    """Names of modules; peft uses some of them inside regular expressions, so only plain characters are accepted."""
    is_good = isinstance(value, list) and all(isinstance(each, str) and MODULE.fullmatch(each) for each in value)
    return None if is_good else "must be a list of module names"


def _name_or_names(value: Any) -> str | None:
    return _names([value] if isinstance(value, str) else value)


def _names_or_expression(value: Any) -> str | None:
    if isinstance(value, str):
        return None if _is_text(value, 4_000) and value else "must be module names or one regular expression"
    return _names(value)


def _pattern_of(check: Check) -> Check:
    def check_all(value: Any) -> str | None:
        if not isinstance(value, dict) or not all(_is_text(key, 4_000) and key for key in value):
            return "must map module names to numbers"
        wish = next((wish for each in value.values() if (wish := check(each))), None)
        return wish and f"holds a value that {wish}"

    return check_all


def _masks(value: Any) -> str | None:
    """AdaLoRA's rank_pattern: which ranks of each module were kept."""
    is_good = isinstance(value, dict) and all(
        MODULE.fullmatch(key) and isinstance(kept, list) and all(isinstance(each, bool) for each in kept)
        for key, kept in value.items()
    )
    return None if is_good else "must map module names to lists of true and false"


def _whole_numbers(value: Any) -> str | None:
    values = value if isinstance(value, list) else [value]
    is_good = all(isinstance(each, int) and not isinstance(each, bool) for each in values)
    return None if is_good else "must be a whole number or a list of them"


def _tame(value: Any) -> str | None:
    """A group of settings that matters to training only: it must not name a file."""
    return None if not _has_path(value) else "must not name a file or a folder"


def _has_path(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_path(each) for each in (*value.keys(), *value.values()))
    if isinstance(value, list):
        return any(_has_path(each) for each in value)
    return isinstance(value, str) and bool(re.search(r"[/\\]|^~|^\.\.?$", value))


def _refused(value: Any) -> str | None:
    return "must be null, because it makes peft import code"


def _megatron_core(value: Any) -> str | None:
    return None if value == "megatron.core" else 'must be null or "megatron.core", because it makes peft import code'


def _empty(value: Any) -> str | None:
    return "must be empty" if value else None


def _unknown(value: Any) -> str | None:
    """A key that nobody knows is kept while it is switched off or a mere number; what it could switch on is refused."""
    is_harmless = value is False or value in ({}, [], "") or (_is_number(value) and abs(value) <= 1e15)
    return None if is_harmless else "is not a key that Medley knows and must be null or false"


COMMON = {
    "peft_type": _word,
    "task_type": _one_of(*TASK_TYPES),
    "base_model_name_or_path": _base,
    "revision": _revision,
    "peft_version": _word,
    "inference_mode": _flag,
    "auto_mapping": _refused,
    "auto_map": _refused,
    "runtime_config": _tame,
    "modules_to_save": _names,
    "target_modules": _names_or_expression,
    "exclude_modules": _names_or_expression,
    "layers_to_transform": _whole_numbers,
    "layers_pattern": _name_or_names,
    "fan_in_fan_out": _flag,
    "bias": _one_of("none", "all", "lora_only", "boft_only", "oft_only", "vera_only", "hra_only"),
}
LORA = {
    **COMMON,
    "r": _rank,
    "lora_alpha": _alpha,
    "rank_pattern": _pattern_of(_rank),
    "alpha_pattern": _pattern_of(_alpha),
    "lora_dropout": _share,
    **dict.fromkeys(["use_rslora", "use_dora", "lora_bias", "use_qalora", "ensure_weight_tying"], _flag),
    "init_lora_weights": lambda value: None if isinstance(value, bool) else _word(value),
    "qalora_group_size": _number,
    "alora_invocation_tokens": _whole_numbers,
    "target_parameters": _names,
    "trainable_token_indices": _tame,
    "layer_replication": _tame,
    "megatron_config": _refused,
    "megatron_core": _megatron_core,
    **dict.fromkeys(["loftq_config", "eva_config", "corda_config", "lora_ga_config", "velora_config"], _tame),
    **dict.fromkeys(["monteclora_config", "use_bdlora", "arrow_config", "kasa_config"], _tame),
}
PROMPT = {
    **COMMON,
    **dict.fromkeys(["num_virtual_tokens", "token_dim", "num_transformer_submodules"], _number),
    **dict.fromkeys(["num_attention_heads", "num_layers", "encoder_num_layers", "encoder_hidden_size"], _number),
}
LYCORIS = {
    **COMMON,
    "r": _rank,
    "alpha": _alpha,
    "rank_pattern": _pattern_of(_rank),
    "alpha_pattern": _pattern_of(_alpha),
    **dict.fromkeys(["rank_dropout", "module_dropout"], _share),
    **dict.fromkeys(["init_weights", "use_effective_conv2d", "rank_dropout_scale", "decompose_both"], _tame),
    "decompose_factor": _number,
}
ADALORA = {
    **LORA,
    "rank_pattern": _masks,
    **dict.fromkeys(["init_r", "target_r"], _rank),
    **dict.fromkeys(["tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"], _number),
}
VERA = {
    **COMMON,
    "r": _rank,
    "projection_prng_key": _number,
    "vera_dropout": _share,
    "d_initial": _number,
    **dict.fromkeys(["save_projection", "init_weights"], _flag),
}
OFT = {
    **COMMON,
    **dict.fromkeys(["r", "oft_block_size", "eps", "num_cayley_neumann_terms"], _number),
    "module_dropout": _share,
    **dict.fromkeys(["coft", "block_share", "use_cayley_neumann", "init_weights"], _flag),
}
KINDS: dict[str, Mapping[str, Check]] = {
    "LORA": LORA,
    "IA3": {**COMMON, "feedforward_modules": _name_or_names, "init_ia3_weights": _flag},
    "PREFIX_TUNING": {**PROMPT, "prefix_projection": _flag, "init_weights": _one_of("zero")},
    "PROMPT_TUNING": {
        **PROMPT,
        "prompt_tuning_init": _word,
        "prompt_tuning_init_text": _base,
        "tokenizer_name_or_path": _hub_name,
        "tokenizer_kwargs": _empty,
    },
    "P_TUNING": {**PROMPT, "encoder_dropout": _share, "encoder_reparameterization_type": _word},
    "ADAPTION_PROMPT": {**COMMON, "adapter_layers": _number, "adapter_len": _number},
    "LN_TUNING": COMMON,
    "LOHA": LYCORIS,
    "LOKR": LYCORIS,
    "ADALORA": ADALORA,
    "VERA": VERA,
    "OFT": OFT,
}

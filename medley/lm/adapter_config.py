"""adapter_config.json, read by a strict schema of ours before peft sees it.

peft accepts a rank of -1 or 10^12, NaN, unknown fields and module names to import; here each of them is an error that
says what to do. What a key may hold stands in `adapter_schema.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medley.lm.adapter_schema import KINDS, find_problems
from medley.lm.strict_files import label_of, raise_problems, read_json_object

CONFIG_FILE = "adapter_config.json"
KIND_WORDS = {"ADAPTION_PROMPT": "llama-adapter"}  # where a kind is not called as in peft
MAX_CONFIG_BYTES = 16 * 1024 * 1024  # rank_pattern and alpha_pattern of a merged mixture model need about 3 MB


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter_config.json says, checked.

    Attributes:
        peft_type: "LORA" or another kind that peft knows.
        task_type: "CAUSAL_LM", "SEQ_CLS" and so on, or None.
        base_model: as written: a Hub id, or a path of whoever trained it; never follow it.
        revision: of the base, or None.
        r, lora_alpha: the defaults where no pattern applies (0 where the kind has no rank).
        rank_pattern, alpha_pattern: exceptions per module; keys are regular expressions.
        use_rslora: True scales by alpha / sqrt(rank) instead of alpha / rank.
        target_modules: names, one regular expression, or None.
        raw: the whole file.
    """

    peft_type: str
    task_type: str | None
    base_model: str | None
    revision: str | None
    r: int
    lora_alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    use_rslora: bool
    use_dora: bool
    lora_bias: bool
    fan_in_fan_out: bool
    target_modules: tuple[str, ...] | str | None
    modules_to_save: tuple[str, ...]
    init_lora_weights: bool | str
    raw: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The kind of adapter in the words of `medley train --adapter`: "lora", "dora", "prefix-tuning", …"""
        if self.peft_type == "LORA":
            return "dora" if self.use_dora else "lora"
        return KIND_WORDS.get(self.peft_type, self.peft_type.lower().replace("_", "-"))

    @property
    def has_own_shapes(self) -> bool:
        """True where the factors are not one (rank, in) and one (out, rank) matrix per module."""
        return bool(self.raw.get("target_parameters") or self.raw.get("use_bdlora") or self.raw.get("use_qalora"))

    @property
    def unknown_keys(self) -> tuple[str, ...]:
        """Keys that this version does not know; they are kept as they are, and peft ignores them."""
        return tuple(sorted(set(self.raw) - set(KINDS[self.peft_type])))


def read_config(folder: Path) -> AdapterConfig:
    """The checked configuration of the adapter in `folder`.

    Raises:
        AdapterFormatError, ProblemsError: everything that is wrong with it.
    """
    path = folder / CONFIG_FILE
    raw = read_json_object(path, MAX_CONFIG_BYTES)
    raise_problems(label_of(path), find_problems(raw))
    modules = raw.get("target_modules")
    return AdapterConfig(
        peft_type=raw["peft_type"],
        task_type=raw.get("task_type"),
        base_model=raw.get("base_model_name_or_path"),
        revision=raw.get("revision"),
        r=raw.get("r") or 0,
        lora_alpha=float(raw.get("lora_alpha") or raw.get("alpha") or (8 if raw["peft_type"] == "LORA" else 0)),
        rank_pattern=raw.get("rank_pattern") or {},
        alpha_pattern={key: float(value) for key, value in (raw.get("alpha_pattern") or {}).items()},
        use_rslora=bool(raw.get("use_rslora")),
        use_dora=bool(raw.get("use_dora")),
        lora_bias=bool(raw.get("lora_bias")),
        fan_in_fan_out=bool(raw.get("fan_in_fan_out")),
        target_modules=tuple(modules) if isinstance(modules, list) else modules,
        modules_to_save=tuple(raw.get("modules_to_save") or ()),
        init_lora_weights=raw.get("init_lora_weights", True),
        raw=raw,
    )

"""The kinds of adapter there are, each with its paper, its learning rate and the options that shape it. No torch here.

To add one: a line here, its configuration in adapter_configs.py, and its way to chat is in medley/lm/alone.py already.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medley.errors import ParameterError

LORA_OPTIONS = (
    "rank",
    "alpha",
    "dropout",
    "targets",
    "rslora",
    "init",
    "layers",
    "rank_pattern",
    "alpha_pattern",
)
SOFT_OPTIONS = ("virtual_tokens", "prompt_text")
ADAPTION_OPTIONS = ("adapter_len", "adapter_layers")
SHAPING = (*LORA_OPTIONS, *SOFT_OPTIONS, *ADAPTION_OPTIONS)


@dataclass(frozen=True)
class AdapterKind:
    """A row of the table.

    Attributes:
        name: as the option `adapter` has it, and `medley adapter list`.
        what: what it trains, in a few words.
        paper: arXiv number.
        learning_rate: the peak rate that is taken when none is given.
        rate_source: where that rate comes from.
        options: the options that shape it; the others do not apply.
    """

    name: str
    what: str
    paper: str
    learning_rate: float
    rate_source: str
    options: tuple[str, ...]


PEFT_TABLE = "the best of its kind in peft's method comparison"
ADAPTER_KINDS: dict[str, AdapterKind] = {
    kind.name: kind
    for kind in (
        AdapterKind("lora", "low-rank deltas", "2106.09685", 2e-4, "LoRA Without Regret", LORA_OPTIONS),
        AdapterKind(
            "dora", "low-rank deltas and magnitudes", "2402.09353", 2e-4, "the rate of LoRA, as in 2402.09353",
            LORA_OPTIONS,
        ),
        AdapterKind("ia3", "a factor for each activation", "2205.05638", 5e-3, PEFT_TABLE, ("targets",)),
        AdapterKind("prefix-tuning", "keys and values in front", "2101.00190", 5e-3, PEFT_TABLE, SOFT_OPTIONS),
        AdapterKind(
            "prompt-tuning", "embeddings in front", "2104.08691", 1e-2, "ten times peft's best, for short runs",
            SOFT_OPTIONS,
        ),
        AdapterKind(
            "llama-adapter", "prompts in the attention, behind a gate", "2303.16199", 5e-3, PEFT_TABLE,
            ADAPTION_OPTIONS,
        ),
    )
}  # fmt: skip
RATES = ", ".join(f"{kind.name} {kind.learning_rate:g}" for kind in ADAPTER_KINDS.values())

INITS = {  # what the option `init` can be, and whether only plain LoRA can start so
    "default": False,
    "gaussian": False,
    "orthogonal": False,
    "pissa": True,
    "olora": True,
    "eva": True,
}
ROWLESS_INITS = tuple(name for name in INITS if name != "eva")  # eva looks at the rows that sft learns from
HOLDING_INITS = ("pissa", "olora")  # the start is subtracted again by a half that is held fast


def kind_of(options: Any) -> AdapterKind:
    """The kind that these options ask for; LoRA where a trainer offers no other."""
    return ADAPTER_KINDS[getattr(options, "adapter", "lora")]


def kind_of_folder(adapter_dir: Path) -> AdapterKind | None:
    """The kind of a saved adapter, or None if it is one that is not trained here."""
    from medley.lm.adapter_file import read_config

    return ADAPTER_KINDS.get(read_config(adapter_dir).kind)


def with_rate(options: Any, init_adapter: Path | None = None) -> Any:
    """The same options with a learning rate that was left open written out: that of the kind which will be trained."""
    if options.learning_rate is not None:
        return options
    kind = kind_of_folder(init_adapter) if init_adapter is not None else None
    return dataclasses.replace(options, learning_rate=(kind or kind_of(options)).learning_rate)


def applicable(values: Mapping[str, Any], adapter: str) -> dict[str, Any]:
    """The starting values that fit a kind: a preset speaks of LoRA, and another kind has other options and rates."""
    kind = ADAPTER_KINDS[adapter]
    if "rank" in kind.options:
        return dict(values)
    return {name: value for name, value in values.items() if name not in SHAPING and name != "learning_rate"}


def contradictions(options: Any) -> list[str]:
    """What the adapter's options only get wrong together, a sentence each."""
    kind = kind_of(options)
    idle = [name for name in SHAPING if name not in kind.options and _is_changed(options, name)]
    problems = [
        f"{name} does not apply to {kind.name} adapters, which are shaped by {', '.join(kind.options)}. Leave it out."
        for name in idle
    ]
    if kind.name == "dora" and INITS[options.init]:
        problems.append(f"init {options.init} starts plain LoRA only. Take adapter lora, or another init.")
    if options.init in HOLDING_INITS and options.weight_decay > 0:
        problems.append(
            f"init {options.init} holds a copy of its start, which weight_decay {options.weight_decay:g} would shrink. "
            "Set weight_decay to 0."
        )
    if options.init == "orthogonal" and options.rank % 2:
        problems.append(f"init orthogonal needs an even rank, got {options.rank}.")
    if options.init == "eva" and (options.rank_pattern or options.alpha_pattern):
        problems.append("init eva gives out the ranks itself. Leave out rank_pattern and alpha_pattern.")
    if kind.name == "prefix-tuning" and options.gradient_checkpointing:
        problems.append("prefix-tuning keeps a cache, which gradient_checkpointing would drop. Switch one of them off.")
    for name, parse in (("layers", parse_layers), ("rank_pattern", parse_ranks), ("alpha_pattern", parse_alphas)):
        try:
            parse(getattr(options, name))
        except ParameterError as error:
            problems.append(str(error))
    return problems


def _is_changed(options: Any, name: str) -> bool:
    known = {field.name: field.default for field in dataclasses.fields(options)}
    return name in known and getattr(options, name) != known[name]


def parse_layers(texts: tuple[str, ...] | None) -> list[int] | None:
    """Layer numbers from numbers and ranges: ("0-2", "5") is [0, 1, 2, 5]; None for all layers.

    Raises:
        ParameterError: a part that is neither.
    """
    if not texts:
        return None
    numbers: set[int] = set()
    for text in texts:
        found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", text.strip(), re.ASCII)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise ParameterError(f"layers must be numbers or ranges such as 0-7, got {text!r}.")
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def parse_ranks(texts: tuple[str, ...] | None) -> dict[str, int]:
    """Ranks of single modules from "q_proj=8".

    Raises:
        ParameterError: a part that does not say a module and a whole number from 1 to 1024.
    """
    pairs = _pairs("rank_pattern", texts, "q_proj=8")
    wrong = next((text for _, text in pairs if not (text.isdecimal() and 1 <= int(text) <= 1024)), None)
    if wrong is not None:
        raise ParameterError(f"rank_pattern must hold whole numbers in [1, 1024], got {wrong!r}.")
    return {name: int(text) for name, text in pairs}


def parse_alphas(texts: tuple[str, ...] | None) -> dict[str, float]:
    """Alphas of single modules from "q_proj=16".

    Raises:
        ParameterError: a part that does not say a module and a number above 0.
    """
    pairs = _pairs("alpha_pattern", texts, "q_proj=16")
    wrong = next((text for _, text in pairs if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) or not float(text)), None)
    if wrong is not None:
        raise ParameterError(f"alpha_pattern must hold numbers above 0, got {wrong!r}.")
    return {name: float(text) for name, text in pairs}


def _pairs(option: str, texts: tuple[str, ...] | None, example: str) -> list[tuple[str, str]]:
    pairs = []
    for text in texts or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not re.fullmatch(r"[A-Za-z0-9_.]+", name):
            raise ParameterError(f"{option} must be written like {example}, got {text!r}.")
        pairs.append((name, value))
    return pairs

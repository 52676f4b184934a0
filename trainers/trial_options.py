"""What is the same for all types in a comparison of adapter types, and the types that can be compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medley.options import option

TRIAL_TYPES: dict[str, Mapping[str, Any]] = {  # what stands in the table -> the options that make it
    "lora": {},
    "rslora": {"rslora": True},
    "pissa": {"init": "pissa"},
    "olora": {"init": "olora"},
    "eva": {"init": "eva"},
    "qlora": {"quant": "4bit"},
    "dora": {"adapter": "dora"},
    "ia3": {"adapter": "ia3"},
    "prefix-tuning": {"adapter": "prefix-tuning"},
    "prompt-tuning": {"adapter": "prompt-tuning"},
    "llama-adapter": {"adapter": "llama-adapter"},
}


@dataclass(frozen=True)
class TrialOptions:
    """One budget for all types; each type has its own learning rate, as in `medley train sft`."""

    types: tuple[str, ...] = option(
        ("lora", "dora", "ia3", "prefix-tuning", "prompt-tuning", "llama-adapter"),
        f"Types to compare: {', '.join(TRIAL_TYPES)}.",
    )
    max_steps: int = option(60, "Optimizer steps that each type gets.", low=1, high=1_000_000)
    batch_size: int = option(8, "Rows in one forward pass.", low=1, high=4096)
    max_length: int = option(512, "Tokens kept of a row; the rest of a longer row is cut off.", low=8, high=1_048_576)
    rank: int = option(16, "LoRA rank of the types that have one.", low=1, high=1024)
    virtual_tokens: int = option(20, "Tokens of the types that put some in front.", low=1, high=4096)
    max_eval_rows: int = option(64, "Held-out rows that are measured.", low=1, advanced=True)
    quant: str = option("none", "Load the base in 4-bit NF4 for all types.", choices=("none", "4bit"), advanced=True)
    seed: int = option(42, "Seed, the same for all types.", low=0, high=2**32 - 1, advanced=True)
    device: str = option("auto", "Where to train.", choices=("auto", "cuda", "mps", "cpu"), advanced=True)

    def problems(self) -> list[str]:
        """What is wrong with the list of types."""
        unknown = [name for name in self.types if name not in TRIAL_TYPES]
        problems = [f"There is no type '{name}'. Known: {', '.join(TRIAL_TYPES)}." for name in unknown]
        if len(set(self.types)) != len(self.types):
            problems.append(f"Each type is compared once, got {', '.join(self.types)}.")
        if not self.types:
            problems.append(f"Name at least one type of {', '.join(TRIAL_TYPES)}.")
        return problems


def trial_training(options: TrialOptions, name: str) -> dict[str, Any]:
    """The options of `medley train sft` with which a type is trained; each that is not said has its default."""
    made = TRIAL_TYPES[name]
    kind = made.get("adapter", "lora")
    shape = {"rank": options.rank} if kind in ("lora", "dora") else {}
    if kind in ("prefix-tuning", "prompt-tuning"):
        shape = {"virtual_tokens": options.virtual_tokens}
    return {
        "epochs": 1000.0,  # max_steps ends it
        "max_steps": options.max_steps,
        "batch_size": options.batch_size,
        "max_length": options.max_length,
        "max_eval_rows": options.max_eval_rows,
        "eval_every": options.max_steps,
        "save_every": options.max_steps,
        "keep_checkpoints": 1,
        "samples": 0,
        "quant": options.quant,
        "seed": options.seed,
        "device": options.device,
        **shape,
        **made,
    }

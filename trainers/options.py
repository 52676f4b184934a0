"""What can be turned on every trainer, in four groups; a trainer's own options class takes the groups it needs.

Each option has a default, a range and a line of help, from which flags, controls, recipes and cards are made.
A trainer that needs another default declares the field again.
"""

from dataclasses import dataclass

from medley.options import option
from trainers.adapter_kinds import ADAPTER_KINDS, INITS, RATES, ROWLESS_INITS, contradictions


@dataclass(frozen=True)
class EpochOptions:
    """For trainers that pass over rows: how often, how many at once, how the rate goes, when they are measured."""

    epochs: float = option(3.0, "Passes over the training rows.", above=0, high=1000)
    max_steps: int | None = option(
        None, "Stop after this many optimizer steps, whatever the epochs say.", low=1, advanced=True
    )
    batch_size: int = option(8, "Rows in one forward pass; more needs more memory.", low=1, high=4096)
    max_length: int = option(1024, "Tokens kept of a row; the rest of a longer row is cut off.", low=8, high=1_048_576)
    gradient_accumulation: int = option(1, "Forward passes for one optimizer step.", low=1, high=4096, advanced=True)
    lr_schedule: str = option(
        "cosine", "How the learning rate falls.", choices=("cosine", "linear", "constant"), advanced=True
    )
    warmup_share: float = option(0.03, "Share of the steps in which the rate climbs.", low=0, high=1, advanced=True)
    group_by_length: bool = option(True, "Batch rows of similar length: less padding, faster.", advanced=True)
    eval_every: int = option(20, "Optimizer steps between two measurements on the eval split.", low=1, advanced=True)
    max_eval_rows: int = option(64, "Eval rows measured each time; 0 switches evaluation off.", low=0, advanced=True)


@dataclass(frozen=True)
class CommonOptions:
    """For every trainer: seed, device, optimizer, checkpoints."""

    learning_rate: float = option(
        2e-4, "Peak learning rate; too high forgets, too low learns nothing.", above=0, high=1
    )
    seed: int = option(
        42, "Same seed, same machine, same adapter bytes on a CPU.", low=0, high=2**32 - 1, advanced=True
    )
    quant: str = option("none", "Load the base in 4-bit NF4 to save memory (QLoRA).", choices=("none", "4bit"))
    weight_decay: float = option(0.0, "AdamW weight decay on the adapter.", low=0, high=1, advanced=True)
    max_grad_norm: float = option(1.0, "Gradients are clipped to this norm.", above=0, advanced=True)
    gradient_checkpointing: bool = option(False, "Recompute activations: slower, less memory.", advanced=True)
    save_every: int = option(20, "Optimizer steps between two checkpoints.", low=1, advanced=True)
    keep_checkpoints: int = option(2, "Checkpoints kept; older ones are deleted.", low=1, high=100, advanced=True)
    num_processes: int = option(
        1, "Processes that train together, each on rows of its own: one for each GPU.", low=1, high=64, advanced=True
    )
    log_to: str = option(
        "none", "Write the curves to local files of a tracker too.", choices=("none", "tensorboard", "trackio"),
        advanced=True,
    )  # fmt: skip
    check_memory: bool = option(True, "Refuse a run that will not fit into the memory.", advanced=True)
    device: str = option("auto", "Where to train.", choices=("auto", "cuda", "mps", "cpu"), advanced=True)


@dataclass(frozen=True)
class AdapterOptions:
    """What a LoRA adapter is made of."""

    rank: int = option(16, "LoRA rank r: capacity and size of the adapter.", low=1, high=1024)
    alpha: float | None = option(
        None, "LoRA alpha: the delta is scaled by alpha/r; 2r when empty.", above=0, advanced=True
    )
    dropout: float = option(0.0, "Share of LoRA inputs dropped while training.", low=0, high=0.9, advanced=True)
    targets: tuple[str, ...] = option(
        ("all-linear",), "Modules that get an adapter: all-linear, or names such as q_proj.", advanced=True
    )
    rslora: bool = option(False, "Scale by alpha/sqrt(r), steadier at high rank (2312.03732).", advanced=True)
    init: str = option(
        "default",
        "How LoRA starts: pissa (2404.02948) and olora (2406.01775) from the base's weights.",
        choices=ROWLESS_INITS,
        advanced=True,
    )
    layers: tuple[str, ...] | None = option(
        None, "Layers that get LoRA, as numbers and ranges such as 0-7,12; all when empty.", advanced=True
    )
    rank_pattern: tuple[str, ...] | None = option(
        None, "Other ranks for some modules, such as q_proj=8,layers.0.mlp.up_proj=4.", advanced=True
    )
    alpha_pattern: tuple[str, ...] | None = option(
        None, "Other alphas for some modules, such as q_proj=16.", advanced=True
    )

    def problems(self) -> list[str]:
        """What only several options together get wrong."""
        return contradictions(self)


@dataclass(frozen=True)
class AdapterTypeOptions(AdapterOptions):
    """For trainers that can train every kind of adapter: which one, and what shapes those that are not LoRA."""

    adapter: str = option(
        "lora", f"Kind of adapter, each with options and a rate of its own: {RATES}.", choices=tuple(ADAPTER_KINDS)
    )
    init: str = option(
        "default",
        "How LoRA starts: pissa (2404.02948) and olora (2406.01775) from the base's weights, eva (2410.07170) from "
        "the training rows.",
        choices=tuple(INITS),
        advanced=True,
    )
    virtual_tokens: int = option(
        20, "Tokens that prompt-tuning and prefix-tuning put in front.", low=1, high=4096, advanced=True
    )
    prompt_text: str | None = option(
        None, "Text that these tokens start as, repeated or cut to fit; random words when empty.", advanced=True
    )
    adapter_len: int = option(10, "Prompt tokens of llama-adapter in each layer.", low=1, high=4096, advanced=True)
    adapter_layers: int | None = option(
        None, "Layers from the top that get a llama-adapter; all when empty.", low=1, high=1000, advanced=True
    )


@dataclass(frozen=True)
class SampleOptions:
    """For trainers of a model that writes: answers to look at while it learns."""

    samples: int = option(
        2, "Eval prompts answered at each measurement, to see it learn.", low=0, high=16, advanced=True
    )
    sample_tokens: int = option(40, "Longest sample answer in tokens.", low=1, high=1024, advanced=True)

"""Peak memory and time of a training, worked out before anything is loaded. No torch.

The parts are counted from what PyTorch keeps for the backward pass of a Llama-like block, tensor by tensor; what cannot
be counted (libraries, allocator, speed) are constants that `benchmarks/memory.py` compares with measured peaks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medley.lm.base_facts import BaseFacts
from medley.lm.load import Device
from trainers.adapter_sizes import adapter_parameters, kept_entries, scaled_entries
from trainers.step_shape import StepShape, step_shape

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
NF4_BYTES = 4.127 / 8  # a weight in NF4 with double quantisation (QLoRA, 2305.14314, section 3)
ADAPTER_BYTES = 4  # peft keeps a trained adapter in float32
ADAM_BYTES = 8  # two float32 moments
LOGIT_COLUMNS = 32_768  # TRL's fused output layer works on tiles of this width, and of this many tokens:
LOGIT_ROWS = 4_096
LOGIT_BYTES = {"cpu": 37, "mps": 37, "cuda": 2}  # per tile entry: nine float32 on the way; one 16-bit in Triton
# Blocks' worth of activations held where they are recomputed; on a CPU measured: malloc keeps the gaps they leave.
CHECKPOINTED_BLOCKS = {"cpu": 10, "mps": 10, "cuda": 2}
BACKWARD_SHARE = 0.3  # of the activations, for gradients in flight and the gaps between them, measured
DORA_BYTES = 9  # the base's result and the adapter's, for each number that is scaled; measured
DROPOUT_BYTES = 8  # noise and dropped input, float32
OVERHEAD_BYTES = {"cpu": 150e6, "mps": 150e6, "cuda": 900e6}  # libraries and allocator; on CUDA also its context
NF4_OVERHEAD_BYTES = 100e6  # bitsandbytes and one layer unpacked
FLOPS_PER_CORE = {"bfloat16": 70e9, "float16": 70e9, "float32": 30e9}  # measured on a CPU with bf16 instructions
DECODE_SHARE = 0.1  # of that speed is reached token by token
SPREAD = 2.0  # how far the time may be off, either way


@dataclass(frozen=True)
class Estimate:
    """What a training will need.

    Attributes:
        parts: what is in memory at the peak, in bytes: weights, adapter, gradients, optimizer, activations, logits,
            cache, overhead. Gradients are 0 where the peak comes before them.
        steps: optimizer steps.
        longest_row: tokens of the longest row as it is trained on.
        seconds: shortest and longest likely duration, or None where nothing is known of the device's speed.
        basis: what the time rests on, one sentence.
    """

    parts: Mapping[str, int]
    steps: int
    longest_row: int
    seconds: tuple[float, float] | None
    basis: str

    @property
    def total_bytes(self) -> int:
        return sum(self.parts.values())


def estimate(
    facts: BaseFacts,
    options: Any,
    trainer: str,
    row_lengths: Sequence[int],
    device: Device,
    *,
    cores: int = 1,
    has_init: bool = False,
) -> Estimate:
    """Peak memory and time of a run.

    Args:
        facts: the base's sizes.
        options: the trainer's options.
        trainer: its name.
        row_lengths: tokens of each training row before anything is cut; at least one row.
        device: where it runs and in which numbers.
        cores: of the CPU that it may use.
        has_init: whether it starts from an adapter.

    Raises:
        KeyError: nothing is known of that trainer.
    """
    shape = step_shape(trainer, options, row_lengths, has_init=has_init)
    processes = options.num_processes  # each has a base and an adapter of its own; GPUs too, but then a GPU each
    copies = processes if device.name == "cpu" else 1
    parts = {name: copies * size for name, size in _parts(facts, options, shape, device).items()}
    seconds, basis = duration(facts, options, shape, device, max(1, cores // processes))
    return Estimate(parts, shape.steps, shape.length, seconds, basis)


def _parts(facts: BaseFacts, options: Any, shape: StepShape, device: Device) -> dict[str, int]:
    adapter = adapter_parameters(facts, options)
    forward = {
        "gradients": ADAPTER_BYTES * adapter * (shape.forwards > 1),  # kept from one forward pass to the next
        "activations": activation_bytes(facts, options, shape, device),
        "logits": logit_bytes(facts, shape, device),
    }
    update = {"gradients": ADAPTER_BYTES * adapter, "activations": 0, "logits": 0}
    generation = {"gradients": 0, "activations": 0, "logits": 0, "cache": cache_bytes(facts, shape, device)}
    peak = max((forward, update, generation), key=lambda parts: sum(parts.values()))
    parts = {
        "weights": weight_bytes(facts, device),
        "adapter": ADAPTER_BYTES * adapter * shape.adapters,
        **peak,
        "optimizer": ADAM_BYTES * adapter,
        "overhead": OVERHEAD_BYTES[device.name] + (NF4_OVERHEAD_BYTES if device.quant else 0),
    }
    return {name: round(parts.get(name, 0)) for name in PART_NAMES}


PART_NAMES = ("weights", "adapter", "gradients", "optimizer", "activations", "logits", "cache", "overhead")


def weight_bytes(facts: BaseFacts, device: Device) -> float:
    """The base in memory; in 4-bit, embeddings and output layer stay as they are."""
    width = DTYPE_BYTES[device.dtype]
    if not device.quant:
        return facts.parameters * width
    return facts.linear_parameters * NF4_BYTES + (facts.parameters - facts.linear_parameters) * width


def logit_bytes(facts: BaseFacts, shape: StepShape, device: Device) -> float:
    """Logits and what is made of them: in TRL's tiles, or whole with their gradient."""
    if shape.has_whole_logits:
        return 2 * DTYPE_BYTES[device.dtype] * shape.logit_tokens * facts.vocab
    return min(shape.logit_tokens, LOGIT_ROWS) * min(facts.vocab, LOGIT_COLUMNS) * LOGIT_BYTES[device.name]


def activation_bytes(facts: BaseFacts, options: Any, shape: StepShape, device: Device) -> float:
    """What the backward pass needs of the forward pass, and what it makes itself.

    Per token and block, in the model's own numbers: query, key, value and result of the attention, and gate, its
    activation and the up-projection; in float32 the inputs of both norms. A 16-bit base hands each adapter a float32
    copy of its input; a float32 base shares the input itself, so that it counts once per norm.
    """
    width = DTYPE_BYTES[device.dtype]
    attention, tokens = facts.heads * facts.head_dim, shape.rows * shape.length
    per_block = width * (4 * attention + 3 * facts.intermediate) + 2 * 4 * facts.hidden
    if width == 4:
        per_block += width * (2 * facts.hidden + facts.intermediate)
    per_token = facts.layers * per_block
    inputs, inner = kept_entries(facts, options)
    per_token += inputs * (4 * (width < 4) + DROPOUT_BYTES * (options.dropout > 0)) + 4 * inner
    per_token += DORA_BYTES * scaled_entries(facts, options)
    if options.gradient_checkpointing:
        in_flight = min(1, CHECKPOINTED_BLOCKS[device.name] / facts.layers)
        per_token = per_token * in_flight + facts.layers * facts.hidden * width
    has_tiles = shape.logit_tokens > 0 and not shape.has_whole_logits
    backward = 0 if has_tiles else BACKWARD_SHARE * per_token  # the tiles are larger, and gone when it begins
    mask = 3 * shape.rows * shape.length**2  # which token sees which, as a flag and as a number
    return tokens * (per_token + backward) + mask


def cache_bytes(facts: BaseFacts, shape: StepShape, device: Device) -> float:
    """Keys and values of all tokens while answers are generated."""
    per_token = 2 * facts.layers * facts.kv_heads * facts.head_dim * DTYPE_BYTES[device.dtype]
    return shape.written_rows * shape.length * per_token


def duration(
    facts: BaseFacts, options: Any, shape: StepShape, device: Device, cores: int
) -> tuple[tuple[float, float] | None, str]:
    """Shortest and longest likely seconds of the run, and what that rests on.

    A token costs 2 operations a weight forward and, as the base is frozen, as much again backward; recomputing costs
    a further forward pass.
    """
    if device.name != "cpu":
        return None, "How fast this device is shows in the first steps; the run then tells the time left."
    forward = 2 * facts.linear_parameters + 2 * facts.layers * facts.heads * facts.head_dim * shape.mean_length
    head = 2 * facts.vocab * facts.hidden * (shape.logit_tokens > 0)
    passes = 2 + options.gradient_checkpointing + shape.plain_passes
    tokens = shape.rows * shape.mean_length
    operations = tokens * shape.forwards * (passes * forward + (passes + 1) * head)
    operations += shape.written_rows * shape.new_tokens * forward / DECODE_SHARE
    seconds = shape.steps * operations / (FLOPS_PER_CORE[device.dtype] * cores)
    basis = (
        f"{shape.steps * operations / 1e12:,.1f} TFLOP at {FLOPS_PER_CORE[device.dtype] / 1e9:.0f} GFLOP/s for each of "
        f"{cores} cores, as measured on one machine; yours may be twice as fast or half as fast."
    )
    return (seconds / SPREAD, seconds * SPREAD), basis

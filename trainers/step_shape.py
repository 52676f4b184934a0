"""What one step of each trainer holds and does: rows, tokens, passes. Memory and time follow from it. No torch.

One more trainer: one more function and a line in `SHAPES`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trainers.reward_words import adapters_in


@dataclass(frozen=True)
class StepShape:
    """One optimizer step of a trainer, and how many there are.

    Attributes:
        rows: rows in one forward pass with gradients.
        length: tokens of the longest of them, to which the others are padded.
        mean_length: tokens of a row in the mean, padding included.
        steps: optimizer steps of the whole run.
        forwards: forward passes with gradients in one optimizer step.
        plain_passes: passes without gradients for each of those (a reference policy, say).
        logit_tokens: tokens whose logits are in memory at once; 0 where the output layer is not used.
        has_whole_logits: whether these are kept whole, with their gradient, where TRL goes over them in tiles.
        adapters: copies of the adapter in memory; the first one is trained.
        written_rows: answers that are generated at once, or 0.
        new_tokens: tokens of the longest of them.
    """

    rows: int
    length: int
    mean_length: float
    steps: int
    forwards: int = 1
    plain_passes: float = 0
    logit_tokens: int = 0
    has_whole_logits: bool = False
    adapters: int = 1
    written_rows: int = 0
    new_tokens: int = 0


def step_shape(trainer: str, options: Any, row_lengths: Sequence[int], *, has_init: bool = False) -> StepShape:
    """The shape of a trainer's steps.

    Args:
        options: the trainer's options.
        row_lengths: tokens of each training row before anything is cut; of the longer answer where a row has two.
        has_init: whether the run starts from an adapter (which is then also the reference, where there is one).

    Raises:
        KeyError: the trainer has no line in `SHAPES`.
    """
    return SHAPES[trainer](options, row_lengths, has_init)


def _sft(options: Any, lengths: Sequence[int], has_init: bool) -> StepShape:
    return _epochs(options, lengths, answers=1, has_head=True)


def _reward(options: Any, lengths: Sequence[int], has_init: bool) -> StepShape:
    return _epochs(options, lengths, answers=2, has_head=False)


def _dpo(options: Any, lengths: Sequence[int], has_init: bool) -> StepShape:
    return _epochs(options, lengths, answers=2, has_head=True, plain_passes=1, adapters=2 if has_init else 1)


def _kto(options: Any, lengths: Sequence[int], has_init: bool) -> StepShape:
    """Three passes without gradients: the reference's, and both policies' on mismatched answers (2402.01306)."""
    return _epochs(options, lengths, answers=1, has_head=True, plain_passes=3, adapters=2 if has_init else 1)


def _grpo(options: Any, lengths: Sequence[int], has_init: bool) -> StepShape:
    """Each prompt is answered `num_generations` times; the answers of a step are read by the reference as well."""
    prompts = [length for length in lengths if length <= options.max_length] or [options.max_length]
    rows, length = options.batch_size, max(prompts) + options.max_new_tokens
    per_prompt = options.num_generations / options.gradient_accumulation
    return StepShape(
        rows=rows,
        length=length,
        mean_length=sum(prompts) / len(prompts) + options.max_new_tokens,
        steps=options.max_steps or math.ceil(options.epochs * (len(prompts) * per_prompt // rows)),
        forwards=options.gradient_accumulation,
        plain_passes=(options.beta > 0) + (options.gradient_accumulation > 1),
        logit_tokens=rows * length,
        adapters=1 + has_init + len(adapters_in(options.reward)),
        written_rows=rows * options.gradient_accumulation,
        new_tokens=options.max_new_tokens,
    )


def _ppo(options: Any, lengths: Sequence[int], has_init: bool) -> StepShape:
    """A batch is written token by token, all at once; reference, rewards and value read it; then it is learned from."""
    rows_of_step = -(-options.batch_size // options.mini_batches)
    rows = min(options.rows_at_once or rows_of_step, rows_of_step)
    prompts = [length for length in lengths if length <= options.max_prompt_length] or [options.max_prompt_length]
    has_value_adapter = options.value == "adapter"
    rewards = len(adapters_in((*options.reward, *options.gold_reward)))
    return StepShape(
        rows=rows,
        length=max(prompts) + options.max_new_tokens,
        mean_length=sum(prompts) / len(prompts) + options.max_new_tokens,
        steps=options.updates,
        forwards=-(-rows_of_step // rows) * options.mini_batches * options.ppo_epochs * (1 + has_value_adapter),
        plain_passes=(3 + rewards) / options.ppo_epochs,
        logit_tokens=rows * options.max_new_tokens,
        has_whole_logits=True,
        adapters=1 + has_value_adapter + has_init + rewards,
        written_rows=options.batch_size,
        new_tokens=options.max_new_tokens,
    )


SHAPES: dict[str, Callable[[Any, Sequence[int], bool], StepShape]] = {
    "sft": _sft,
    "reward": _reward,
    "dpo": _dpo,
    "kto": _kto,
    "grpo": _grpo,
    "ppo": _ppo,
}


def _epochs(
    options: Any,
    row_lengths: Sequence[int],
    *,
    answers: int,
    has_head: bool,
    plain_passes: float = 0,
    adapters: int = 1,
) -> StepShape:
    """The shape for a trainer that passes over rows, each with one answer or two."""
    lengths = [min(length, options.max_length) for length in row_lengths]
    batch_rows = min(options.batch_size, len(lengths))
    rows, longest = answers * batch_rows, max(lengths)
    grouped = batch_rows * options.gradient_accumulation if options.group_by_length else 1
    return StepShape(
        rows=rows,
        length=longest,
        mean_length=sum(lengths) / len(lengths) if grouped > 1 else padded_mean(lengths, batch_rows),
        steps=step_count(options, len(lengths)),
        forwards=options.gradient_accumulation,
        plain_passes=plain_passes,
        logit_tokens=rows * longest if has_head else 0,
        adapters=adapters,
    )


def step_count(options: Any, rows: int) -> int:
    """Optimizer steps of a run over rows: those of its epochs, or `max_steps` where that is given."""
    if options.max_steps is not None:
        return options.max_steps
    rows_of_step = options.batch_size * options.gradient_accumulation * options.num_processes
    return math.ceil(options.epochs * math.ceil(rows / rows_of_step))


def padded_mean(lengths: Sequence[int], rows: int) -> float:
    """The expected longest of `rows` lengths drawn at random: what a row is padded to.

    E[max] = sum over the sorted lengths l_i of l_i · ((i/n)^rows - ((i-1)/n)^rows).
    """
    count = len(lengths)
    shares = [(number / count) ** rows for number in range(count + 1)]
    return sum(length * (high - low) for length, (low, high) in zip(sorted(lengths), pairwise(shares), strict=True))

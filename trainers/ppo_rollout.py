"""Answers written by the policy, one batch at a time, and the prompts they are written to.

Legend: N answers, P columns of the longest prompt (padded on the left), R columns of the longest answer (padded on the
right), S = P + R.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from medley.errors import DatasetError
from medley.lm.batch import Batch
from medley.lm.lora_layers import BlendLayers
from medley.lm.next_token import draw
from medley.lm.prompts import prompt_ids
from medley.lm.sampling import Sampling
from trainers.ppo_advantages import valid_tokens
from trainers.ppo_voices import SharedBase
from trainers.work import TrainWork


@dataclass(frozen=True)
class Prompt:
    """A prompt as the policy reads it, and its last message for people and reward functions."""

    ids: list[int]
    text: str


@dataclass(frozen=True)
class Rollout:
    """A batch of answers.

    Attributes:
        ids_NS: prompt and answer; padding is anything.
        is_token_NS: False at padding.
        prompt_columns: P.
        is_valid_NR: True from an answer's first token to its end.
        has_end_N: True where the answer ended by itself.
        prompts, answers: texts, without special tokens.
    """

    ids_NS: torch.Tensor
    is_token_NS: torch.Tensor
    prompt_columns: int
    is_valid_NR: torch.Tensor
    has_end_N: torch.Tensor
    prompts: list[str]
    answers: list[str]

    @property
    def answers_NR(self) -> torch.Tensor:
        return self.ids_NS[:, self.prompt_columns :]

    def rows(self, indices: torch.Tensor) -> "Rollout":
        """Some of the answers, without texts and without columns that only the others need."""
        is_token, is_valid = self.is_token_NS[indices], self.is_valid_NR[indices]
        first = int(is_token.long().argmax(dim=1).min())
        return Rollout(
            self.ids_NS[indices, first:],
            is_token[:, first:],
            self.prompt_columns - first,
            is_valid,
            self.has_end_N[indices],
            [],
            [],
        )


def read_prompts(
    rows: Sequence[dict[str, Any]], tokenizer: Any, max_length: int, work: TrainWork, option: str = "max_prompt_length"
) -> list[Prompt]:
    """The rows' prompts, without those of more than `max_length` tokens; a warning says how many those are.

    Args:
        option: what a trainer calls this limit.

    Raises:
        DatasetError: nothing is left.
    """
    prompts = [Prompt(prompt_ids(tokenizer, row["prompt"]), row["prompt"][-1]["content"]) for row in rows]
    kept = [prompt for prompt in prompts if len(prompt.ids) <= max_length]
    if not kept:
        shortest = min((len(prompt.ids) for prompt in prompts), default=0)
        raise DatasetError(
            f"Nothing is left to answer: all {len(prompts)} prompts have more than {max_length} tokens. "
            f"Raise {option}; the shortest prompt has {shortest}."
        )
    if len(kept) < len(prompts):
        work.emit(
            "warning",
            text=f"{len(prompts) - len(kept)} of {len(prompts)} prompts have more than {max_length} tokens and are "
            f"left out. Raise {option} to use them.",
        )
    return kept


def prompts_of_update(count: int, batch_size: int, update: int, seed: int) -> list[int]:
    """Which prompts update number `update` (from 0) answers: one shuffled pass over all of them after the other.

    A function of its arguments alone, so that a resumed run goes on in the same order.
    """
    places = range(update * batch_size, (update + 1) * batch_size)
    passes = range(places[0] // count, places[-1] // count + 1)
    orders = {number: _shuffled(count, seed + number) for number in passes}
    return [orders[place // count][place % count] for place in places]


def _shuffled(count: int, seed: int) -> list[int]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


@torch.no_grad()
def write_answers(
    base: SharedBase,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    end_ids: frozenset[int],
    *,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> Rollout:
    """Answers of the policy as it is now, drawn token by token with a cache; an answer that has ended costs no more."""
    rows = len(prompts)
    luck_NR = torch.rand(rows, max_new_tokens, generator=generator, dtype=torch.float64)
    blend = BlendLayers(
        base.lm, [{name: (each.b.detach() * each.scale, each.a.detach()) for name, each in base.policy.items()}]
    )
    blend.attach(torch.ones(rows, 1))
    try:
        tokens_NR = _draw_tokens(base, prompts, end_ids, luck_NR, blend, Sampling(temperature=temperature))
    finally:
        blend.detach()
    is_valid_NR, has_end_N = valid_tokens(tokens_NR, end_ids)
    is_valid_NR &= tokens_NR >= 0  # -1 is what a row holds that had ended before the others
    return _rollout(base, tokenizer, prompts, tokens_NR, is_valid_NR, has_end_N)


def _draw_tokens(
    base: SharedBase,
    prompts: Sequence[Prompt],
    end_ids: frozenset[int],
    luck_NR: torch.Tensor,
    blend: BlendLayers,
    sampling: Sampling,
) -> torch.Tensor:
    """The answers' tokens, (N, R); -1 behind an answer's end."""
    batch = Batch(base.lm, [prompt.ids for prompt in prompts], pad_id=0)
    alive, columns = torch.arange(len(prompts)), []
    logits_NV = batch.read_prompts()
    for column in range(luck_NR.shape[1]):
        tokens = draw(logits_NV.float(), luck_NR[alive, column], sampling).cpu()
        columns.append(torch.full((len(prompts),), -1).scatter(0, alive, tokens))
        goes_on = torch.tensor([int(token) not in end_ids for token in tokens])
        if column + 1 == luck_NR.shape[1] or not goes_on.any():
            break
        if not goes_on.all():
            alive, tokens = alive[goes_on], tokens[goes_on]
            batch.keep(goes_on.nonzero()[:, 0].tolist())
            blend.set_weights(torch.ones(len(alive), 1))
        logits_NV = batch.step(tokens)
    return torch.stack(columns, dim=1)


def _rollout(
    base: SharedBase,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    tokens_NR: torch.Tensor,
    is_valid_NR: torch.Tensor,
    has_end_N: torch.Tensor,
) -> Rollout:
    columns = max(len(prompt.ids) for prompt in prompts)
    prompts_NP = torch.tensor([[0] * (columns - len(prompt.ids)) + prompt.ids for prompt in prompts])
    lengths_N = torch.tensor([len(prompt.ids) for prompt in prompts])
    is_prompt_NP = torch.arange(columns) >= (columns - lengths_N)[:, None]
    answers = [row[is_valid].tolist() for row, is_valid in zip(tokens_NR, is_valid_NR, strict=True)]
    device = base.device
    return Rollout(
        torch.cat([prompts_NP, tokens_NR.clamp(min=0)], dim=1).to(device),
        torch.cat([is_prompt_NP, is_valid_NR], dim=1).to(device),
        columns,
        is_valid_NR.to(device),
        has_end_N.to(device),
        [prompt.text for prompt in prompts],
        [tokenizer.decode(answer, skip_special_tokens=True) for answer in answers],
    )

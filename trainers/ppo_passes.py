"""Forward passes over whole answers: log-probabilities, hidden states and values, only at the places that count.

The output matrix, the largest of a small model, is applied to the answers' places alone, never to prompts; passes that
need no words (values, rewards) never touch it.

Legend: N answers, P prompt columns, R answer columns, S = P + R, H hidden size, V words in the vocabulary.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainers.ppo_advantages import last_valid
from trainers.ppo_rollout import Rollout
from trainers.ppo_voices import SharedBase
from trainers.token_logps import chosen_logps

SHORT_TOKENS = 256  # up to here a CPU is a quarter faster with plain attention, whose backward pass is that of products


def choose_attention(base: SharedBase, longest_tokens: int) -> None:
    """Take the faster way to compute attention for rows of this length; once for a run, as the ways differ in rounding.

    Plain attention keeps a matrix of tokens by tokens for each head, so longer rows stay with the base's own way.
    """
    if base.device.type == "cpu" and longest_tokens <= SHORT_TOKENS:
        base.lm.set_attn_implementation("eager")


@dataclass(frozen=True)
class Spoken:
    """What a language model says of given answers; padding holds anything.

    Attributes:
        logps_NR: of each token, given what stands before it.
        entropy_NR: of the distribution that the token was drawn from; 0 where it was not asked for.
        hidden_NRH: the last hidden state before each token, which a value head reads.
    """

    logps_NR: torch.Tensor
    entropy_NR: torch.Tensor
    hidden_NRH: torch.Tensor


def say(base: SharedBase, rollout: Rollout, *, temperature: float, has_entropy: bool = False) -> Spoken:
    """What the voice that speaks now says of these answers."""
    caught: list[torch.Tensor] = []
    head = base.lm.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    try:
        logits_NRV = base.lm(**_inputs(rollout, base.lm), logits_to_keep=_before_answers(rollout)).logits
    finally:
        handle.remove()
    answers_NR = rollout.answers_NR
    logps, entropy = chosen_logps(
        logits_NRV.flatten(0, 1), answers_NR.flatten(), temperature=temperature, has_entropy=has_entropy
    )
    return Spoken(logps.view(answers_NR.shape), entropy.view(answers_NR.shape), caught[0])


def hidden_before(base: SharedBase, rollout: Rollout) -> torch.Tensor:
    """The last hidden state before each of the answers' tokens, (N, R, H), by the voice that speaks now."""
    return _trunk(base, rollout)[:, _before_answers(rollout)]


def hidden_at_end(base: SharedBase, rollout: Rollout) -> torch.Tensor:
    """The last hidden state at each answer's last token, (N, H), where a reward head reads."""
    ends_N = rollout.prompt_columns + last_valid(rollout.is_valid_NR)
    return _trunk(base, rollout)[torch.arange(len(ends_N), device=ends_N.device), ends_N]


def score_head(hidden: torch.Tensor, weight_1H: torch.Tensor) -> torch.Tensor:
    """A scalar head in float32: (…, H) to (…)."""
    return hidden.float() @ weight_1H[0].float()


def _trunk(base: SharedBase, rollout: Rollout) -> torch.Tensor:
    trunk = base.lm.get_decoder()
    return trunk(**_inputs(rollout, trunk)).last_hidden_state


def _before_answers(rollout: Rollout) -> torch.Tensor:
    """The columns whose hidden state tells the next token of an answer: one to the left of each."""
    columns = rollout.ids_NS.shape[1]
    return torch.arange(rollout.prompt_columns - 1, columns - 1, device=rollout.ids_NS.device)


def _inputs(rollout: Rollout, module: nn.Module) -> dict[str, Any]:
    is_token_NS = rollout.is_token_NS
    inputs = {
        "input_ids": rollout.ids_NS,
        # without padding the causal mask is all there is
        "attention_mask": None if bool(is_token_NS.all()) else is_token_NS.long(),
        "position_ids": (is_token_NS.long().cumsum(dim=1) - 1).clamp(min=0),
        "use_cache": False,
    }
    accepted = inspect.signature(module.forward).parameters
    return {name: value for name, value in inputs.items() if name in accepted}

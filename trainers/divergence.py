"""How far a trained policy has moved from its reference: the KL over answers that the policy itself writes.

Answers are sampled, but at each of their positions the KL over the whole vocabulary is exact, which is unbiased and
much less noisy than the log-ratio of the sampled tokens (Rao-Blackwellisation; Amini et al. 2025, 2504.10637).

Legend: T positions of an answer, V words in the vocabulary.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from medley.lm.prompts import end_token_ids

BATCH_ANSWERS = 8  # answers written at once


@dataclass(frozen=True)
class SampledAnswer:
    """An answer and what it followed, as tokens.

    Attributes:
        prompt_ids: what the model was asked.
        answer_ids: what it wrote, the token that ends the turn included.
        has_ended: False where the answer was cut off at the longest length.
    """

    prompt_ids: list[int]
    answer_ids: list[int]
    has_ended: bool


def position_kl(policy_logits_TV: torch.Tensor, reference_logits_TV: torch.Tensor) -> torch.Tensor:
    """KL(policy || reference) at each position in nats, (T,), never below 0: sum over V of p (log p - log q).

    The logits are those of the same T positions of one text; they are taken to float32.
    """
    policy_logps_TV = policy_logits_TV.float().log_softmax(dim=-1)
    reference_logps_TV = reference_logits_TV.float().log_softmax(dim=-1)
    kl_T = (policy_logps_TV.exp() * (policy_logps_TV - reference_logps_TV)).sum(dim=-1)
    return kl_T.clamp(min=0)  # rounding may take a KL of zero below it


def summary(kl_by_answer: Sequence[torch.Tensor]) -> dict[str, float]:
    """The KL by answer and by token in nats, with the standard error of the first.

    An answer's KL is the sum over its positions; the KL by token is the sum over all answers by the number of all
    their tokens, so that a long answer counts for more.
    """
    totals = [float(kl_T.sum()) for kl_T in kl_by_answer]
    spread = statistics.stdev(totals) / math.sqrt(len(totals)) if len(totals) > 1 else math.nan
    return {
        "kl/sequence": statistics.fmean(totals),
        **({"kl/sequence_se": spread} if len(totals) > 1 else {}),
        "kl/token": sum(totals) / sum(map(len, kl_by_answer)),
        "kl/samples": len(totals),
    }


def sampled_divergence(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    as_reference: Callable[[], AbstractContextManager[None]],
    samples: int,
    max_new_tokens: int,
    seed: int,
) -> dict[str, float]:
    """The KL of the policy to its reference, and the length of the answers of both, by the names of the metrics.

    Args:
        model: the policy; within `as_reference()` it answers as the reference.
        prompts: token ids; they are asked in turn until there are `samples` answers.
        samples: answers of each, at least 1.
        max_new_tokens: an answer is cut off here.
        seed: of the sampling; the global generators are left as they were.

    Returns:
        `kl/…` as in `summary`; `length/before` and `length/after`, mean tokens of an answer of the reference and of
        the policy; `ended/before` and `ended/after`, the share of answers that ended by themselves.
    """
    was_training = model.training
    model.eval()
    asked = [list(prompts[number % len(prompts)]) for number in range(samples)]
    with as_reference():
        before = sample_answers(model, tokenizer, asked, max_new_tokens=max_new_tokens, seed=seed)
    after = sample_answers(model, tokenizer, asked, max_new_tokens=max_new_tokens, seed=seed)
    kl_by_answer = [_answer_kl(model, answer, as_reference) for answer in after]
    model.train(was_training)
    return {**summary(kl_by_answer), **_lengths("before", before), **_lengths("after", after)}


def sample_answers(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], *, max_new_tokens: int, seed: int
) -> list[SampledAnswer]:
    """One answer to each prompt at the model's own odds (temperature 1, no top-k, no top-p)."""
    ends = end_token_ids(tokenizer, model.generation_config)
    answers: list[SampledAnswer] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for start in range(0, len(prompts), BATCH_ANSWERS):
            batch = prompts[start : start + BATCH_ANSWERS]
            written = _generate(model, tokenizer, batch, max_new_tokens, ends)
            answers += [_until_end(prompt, ids, ends) for prompt, ids in zip(batch, written, strict=True)]
    return answers


@torch.no_grad()
def _generate(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], max_new_tokens: int, ends: frozenset[int]
) -> list[list[int]]:
    longest = max(map(len, prompts))
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    ids = torch.tensor([[pad_id] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    output = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=max_new_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        eos_token_id=sorted(ends),
        pad_token_id=pad_id,
    )
    return output[:, longest:].tolist()


def _until_end(prompt: list[int], written: list[int], ends: frozenset[int]) -> SampledAnswer:
    end = next((position for position, token in enumerate(written) if token in ends), None)
    return SampledAnswer(prompt, written if end is None else written[: end + 1], end is not None)


@torch.no_grad()
def _answer_kl(
    model: Any, answer: SampledAnswer, as_reference: Callable[[], AbstractContextManager[None]]
) -> torch.Tensor:
    """The KL at each position of the answer, (T,)."""
    ids = torch.tensor([answer.prompt_ids + answer.answer_ids], device=model.device)
    first, last = -len(answer.answer_ids) - 1, -1  # the logits before each token of the answer

    def logits_TV() -> torch.Tensor:
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, first:last]

    policy_logits_TV = logits_TV()
    with as_reference():
        reference_logits_TV = logits_TV()
    return position_kl(policy_logits_TV, reference_logits_TV)


def _lengths(moment: str, answers: Sequence[SampledAnswer]) -> dict[str, float]:
    return {
        f"length/{moment}": statistics.fmean(len(answer.answer_ids) for answer in answers),
        f"ended/{moment}": statistics.fmean(answer.has_ended for answer in answers),
    }

"""A batch of answers with all that an update learns from: old log-probabilities, values, rewards, advantages.

Legend: N answers, R columns of the longest answer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from trainers.ppo_advantages import advantages_and_returns, masked_mean, shaped_rewards, whiten
from trainers.ppo_kl import KL_ESTIMATORS
from trainers.ppo_options import PPOOptions
from trainers.ppo_passes import say
from trainers.ppo_rollout import Rollout
from trainers.ppo_scores import RunningScores, charge_missing_end, clipped_scores
from trainers.ppo_value import ValueFunction
from trainers.ppo_voices import SharedBase, Voice


@dataclass(frozen=True)
class Experience:
    """What is known of a batch before anything is learned from it; 0 behind an answer's end.

    Attributes:
        rollout: the answers.
        logps_NR, values_NR: by the policy and the value function that wrote them: the "old" ones of the losses.
        advantages_NR, returns_NR: see `advantages_and_returns`.
        kl_N: each answer's distance from the reference in nats, by the chosen estimator.
        non_score_N: the part of its reward that is the price of that distance.
        final_scores_N: its score once normalised, clipped and charged.
        entropy: mean over all valid tokens, in nats.
    """

    rollout: Rollout
    logps_NR: torch.Tensor
    values_NR: torch.Tensor
    advantages_NR: torch.Tensor
    returns_NR: torch.Tensor
    kl_N: torch.Tensor
    non_score_N: torch.Tensor
    final_scores_N: torch.Tensor
    entropy: float


@torch.no_grad()
def judge(
    rollout: Rollout,
    scores_N: torch.Tensor,
    base: SharedBase,
    reference: Voice | None,
    value: ValueFunction,
    *,
    kl_coef: float,
    running: RunningScores,
    options: PPOOptions,
) -> Experience:
    """The experience in a batch of answers.

    Args:
        scores_N: their plain rewards.
        reference: the frozen voice the policy is held to; None is the bare base.
        running: takes the scores up.
    """
    is_valid_NR = rollout.is_valid_NR
    logps_NR, entropy_NR, values_NR = _policy_and_values(rollout, base, value, options)
    with base.speaking(reference):
        reference_logps_NR = _in_parts(
            rollout, options, lambda part: (say(base, part, temperature=options.temperature).logps_NR,)
        )[0]
    kl_NR = KL_ESTIMATORS[options.kl_estimator](logps_NR, reference_logps_NR)
    kl_NR = torch.where(is_valid_NR, kl_NR, 0.0)
    final_N = final_scores(scores_N, rollout.has_end_N, running, options)
    rewards_NR = shaped_rewards(final_N, kl_NR, is_valid_NR, kl_coef)
    if options.whiten_rewards:
        rewards_NR = whiten(rewards_NR, is_valid_NR, keep_mean=True)
    advantages_NR, returns_NR = advantages_and_returns(
        rewards_NR, values_NR, is_valid_NR, gamma=options.gamma, lam=options.lam
    )
    if options.whiten_advantages:
        advantages_NR = whiten(advantages_NR, is_valid_NR)
    return Experience(
        rollout,
        torch.where(is_valid_NR, logps_NR, 0.0),
        torch.where(is_valid_NR, values_NR, 0.0),
        advantages_NR,
        returns_NR,
        kl_N=kl_NR.sum(dim=1),
        non_score_N=-kl_coef * kl_NR.sum(dim=1),
        final_scores_N=final_N,
        entropy=float(masked_mean(entropy_NR, is_valid_NR)),
    )


def final_scores(
    scores_N: torch.Tensor, has_end_N: torch.Tensor, running: RunningScores, options: PPOOptions
) -> torch.Tensor:
    """Scores as they enter the rewards: normalised, then clipped, then charged for a missing end."""
    running.add(scores_N)
    if options.normalise_reward:
        scores_N = running.normalised(scores_N)
    scores_N = clipped_scores(scores_N, options.clip_reward)
    return charge_missing_end(scores_N, has_end_N, options.missing_eos_penalty)


def _policy_and_values(
    rollout: Rollout, base: SharedBase, value: ValueFunction, options: PPOOptions
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    def both(part: Rollout) -> tuple[torch.Tensor, ...]:
        with base.speaking(base.policy):
            spoken = say(base, part, temperature=options.temperature, has_entropy=True)
        values_NR = value.values(base, part) if value.voice else value.read(spoken)
        return spoken.logps_NR, spoken.entropy_NR, values_NR

    logps_NR, entropy_NR, values_NR = _in_parts(rollout, options, both)
    return logps_NR, entropy_NR, values_NR


def _in_parts(
    rollout: Rollout, options: PPOOptions, score: Callable[[Rollout], tuple[torch.Tensor, ...]]
) -> list[torch.Tensor]:
    """The same parts as an update takes, so that equal weights give equal numbers there."""
    rows = torch.arange(rollout.ids_NS.shape[0], device=rollout.ids_NS.device)
    pieces = [score(rollout.rows(part)) for part in rows.split(options.rows_at_once or len(rows))]
    return [torch.cat(column) for column in zip(*pieces, strict=True)]

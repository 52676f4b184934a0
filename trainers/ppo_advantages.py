"""From scores to advantages: which tokens count, the reward of each, generalised advantage estimation, whitening.

Pure functions, tensors in and tensors out.

Legend: N answers, R tokens of the longest answer. `is_valid_NR` is True from an answer's first token to its end; the
padding behind it is False, and every result is 0 there.
"""

import torch

VARIANCE_FLOOR = 1e-8


def valid_tokens(tokens_NR: torch.Tensor, end_ids: frozenset[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(is_valid_NR, has_end_N): tokens up to the first end token, which still counts; and who has one.

    Args:
        tokens_NR: the answers' token ids; anything may stand behind the first end token.
        end_ids: the tokens that end an answer.
    """
    ends = torch.tensor(sorted(end_ids), dtype=tokens_NR.dtype, device=tokens_NR.device)
    is_end_NR = torch.isin(tokens_NR, ends)
    ends_before_NR = is_end_NR.long().cumsum(dim=1) - is_end_NR.long()
    return ends_before_NR == 0, is_end_NR.any(dim=1)


def last_valid(is_valid_NR: torch.Tensor) -> torch.Tensor:
    """The place of each answer's last token, (N,); every answer has at least one."""
    return is_valid_NR.long().sum(dim=1) - 1


def shaped_rewards(
    scores_N: torch.Tensor, kl_NR: torch.Tensor, is_valid_NR: torch.Tensor, kl_coef: float
) -> torch.Tensor:
    """r_t = -kl_coef · kl_t, plus the score at the last token, (N, R).

    The reward of Ziegler et al. 2019 (1909.08593), equation 2, dealt out over the tokens (Stiennon et al. 2020).
    """
    rewards_NR = torch.where(is_valid_NR, -kl_coef * kl_NR, 0.0)
    rewards_NR[torch.arange(len(scores_N), device=scores_N.device), last_valid(is_valid_NR)] += scores_N
    return rewards_NR


def advantages_and_returns(
    rewards_NR: torch.Tensor, values_NR: torch.Tensor, is_valid_NR: torch.Tensor, *, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(advantages_NR, returns_NR) by generalised advantage estimation; returns = advantages + values.

    δ_t = r_t + γ V_{t+1} - V_t and A_t = δ_t + γ λ A_{t+1}, with V = A = 0 behind an answer's end: Schulman et al.
    2015 (1506.02438), equations 11 to 16.

    Args:
        rewards_NR: 0 behind the end.
        values_NR: V_t, what the value function expects before token t; anything behind the end.
        gamma, lam: in [0, 1].
    """
    values_NR = torch.where(is_valid_NR, values_NR, 0.0)
    advantages_NR = torch.zeros_like(values_NR)
    next_value_N = torch.zeros_like(values_NR[:, 0])
    next_advantage_N = torch.zeros_like(next_value_N)
    for t in reversed(range(values_NR.shape[1])):
        delta_N = rewards_NR[:, t] + gamma * next_value_N - values_NR[:, t]
        next_advantage_N = torch.where(is_valid_NR[:, t], delta_N + gamma * lam * next_advantage_N, 0.0)
        advantages_NR[:, t] = next_advantage_N
        next_value_N = values_NR[:, t]
    return advantages_NR, advantages_NR + values_NR


def whiten(numbers_NR: torch.Tensor, is_valid_NR: torch.Tensor, *, keep_mean: bool = False) -> torch.Tensor:
    """The numbers with variance 1 over all valid tokens, and mean 0 unless `keep_mean`; 0 elsewhere.

    The variance is the population's, as in OpenAI's code (2403.17031, detail on whitening); TRL takes the sample's.
    """
    mean = masked_mean(numbers_NR, is_valid_NR)
    variance = masked_mean((numbers_NR - mean) ** 2, is_valid_NR)
    whitened_NR = (numbers_NR - mean) * torch.rsqrt(variance + VARIANCE_FLOOR)
    return torch.where(is_valid_NR, whitened_NR + mean if keep_mean else whitened_NR, 0.0)


def masked_mean(numbers_NR: torch.Tensor, is_valid_NR: torch.Tensor) -> torch.Tensor:
    """Their mean over the valid tokens, a scalar; a long answer weighs more than a short one."""
    return torch.where(is_valid_NR, numbers_NR, 0.0).sum() / is_valid_NR.sum()

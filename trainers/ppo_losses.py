"""The clipped losses of PPO for each token, and the numbers that tell how an update went.

Pure functions, tensors in and tensors out. The losses are not averaged here: the caller knows over how many tokens,
when an update is done in parts.

Legend: N answers, R tokens of the longest answer; what lies behind an answer's end is masked by the caller.
"""

import torch

from trainers.ppo_advantages import masked_mean


def policy_losses(
    logps_NR: torch.Tensor, old_logps_NR: torch.Tensor, advantages_NR: torch.Tensor, clip_range: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(losses_NR, is_clipped_NR) with loss = max(-A ρ, -A clip(ρ, 1 - c, 1 + c)) and ρ = exp(logp - old logp).

    The negative of Schulman et al. 2017 (1707.06347), equation 7. A token is clipped where the second term is the
    larger one: there its gradient is 0.
    """
    ratio_NR = torch.exp(logps_NR - old_logps_NR)
    plain_NR = -advantages_NR * ratio_NR
    clipped_NR = -advantages_NR * ratio_NR.clamp(1 - clip_range, 1 + clip_range)
    return torch.maximum(plain_NR, clipped_NR), clipped_NR > plain_NR


def value_losses(
    values_NR: torch.Tensor, old_values_NR: torch.Tensor, returns_NR: torch.Tensor, clip_range: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(losses_NR, is_clipped_NR) with loss = ½ max((V - R)², (V_clip - R)²), V_clip within `clip_range` of the old V.

    As in OpenAI's PPO (2403.17031, detail on value clipping); the paper itself has no clipped value loss.
    """
    near_NR = torch.clamp(values_NR, old_values_NR - clip_range, old_values_NR + clip_range)
    plain_NR, clipped_NR = (values_NR - returns_NR) ** 2, (near_NR - returns_NR) ** 2
    return 0.5 * torch.maximum(plain_NR, clipped_NR), clipped_NR > plain_NR


def approximate_kl(logps_NR: torch.Tensor, old_logps_NR: torch.Tensor, is_valid_NR: torch.Tensor) -> torch.Tensor:
    """½ mean (logp - old logp)², Schulman's k2: how far the update has moved from the policy that wrote the answers."""
    return 0.5 * masked_mean((logps_NR - old_logps_NR) ** 2, is_valid_NR)


def explained_variance(values_NR: torch.Tensor, returns_NR: torch.Tensor, is_valid_NR: torch.Tensor) -> torch.Tensor:
    """1 - Var(R - V) / Var(R) over the valid tokens: 1 is perfect, 0 as good as a constant, below 0 worse.

    0 where all returns are equal, since there is nothing to explain.
    """
    returns, errors = returns_NR[is_valid_NR], (returns_NR - values_NR)[is_valid_NR]
    variance = returns.var(correction=0)
    return torch.where(variance > 0, 1 - errors.var(correction=0) / variance.clamp(min=1e-12), 0.0)

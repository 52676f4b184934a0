"""How far the policy has gone from the reference: estimates of the KL divergence from drawn tokens, and its price.

Pure functions, tensors in and tensors out. All estimates are of KL(policy ‖ reference) and need tokens drawn from the
policy itself.

Legend: N answers, R tokens of the longest answer; what lies behind an answer's end is masked by the caller.
"""

from dataclasses import dataclass

import torch

ERROR_LIMIT = 0.2  # how far off target one batch can seem, in either direction (Ziegler et al. 2019)
GAIN = 0.1  # K_β in the paper


def kl_k1(logps_NR: torch.Tensor, reference_logps_NR: torch.Tensor) -> torch.Tensor:
    """k1 = -log r with r = reference / policy, (N, R): unbiased, noisy, negative where the reference is surer.

    Schulman, "Approximating KL Divergence" (2020).
    """
    return logps_NR - reference_logps_NR


def kl_k3(logps_NR: torch.Tensor, reference_logps_NR: torch.Tensor) -> torch.Tensor:
    """k3 = (r - 1) - log r with r = reference / policy, (N, R): unbiased as well, steadier, never below 0.

    Schulman, "Approximating KL Divergence" (2020).
    """
    log_r_NR = reference_logps_NR - logps_NR
    return torch.expm1(log_r_NR) - log_r_NR


KL_ESTIMATORS = {"k1": kl_k1, "k3": kl_k3}


@dataclass
class AdaptiveKL:
    """A coefficient that follows the measured KL: dearer above the target, cheaper below.

    e = clip((KL - target) / target, -0.2, 0.2), then coef ← coef · (1 + 0.1 · e): Ziegler et al. 2019 (1909.08593),
    section 2.2. One batch therefore changes the price by 2 % at most.

    Attributes:
        coef: the price of one nat now.
        target: nats in a whole answer, as `objective/kl` is logged.
    """

    coef: float
    target: float

    def update(self, kl: float) -> None:
        """Take one batch's KL, in nats of a whole answer, into account."""
        error = min(max((kl - self.target) / self.target, -ERROR_LIMIT), ERROR_LIMIT)
        self.coef *= 1 + GAIN * error

"""Concatenation: the weighted sum with the factors side by side, nothing computed and nothing lost.

[w₁s₁B₁ … wₙsₙBₙ] · [A₁; …; Aₙ] = Σ wᵢ·ΔWᵢ exactly, at a rank of Σ rᵢ (peft calls it `cat`; LoRA Soups, Prabhakar et al.
2024, arXiv:2410.13025, learn the weights). Unlike peft's, the result is right for rsLoRA inputs too.
"""

from collections.abc import Sequence

import torch

from merging.numerics.lowrank import Factors


def merge_factors(factors: Sequence[Factors], *, weights: Sequence[float]) -> Factors:
    """The stacked factors (m, Σr) and (Σr, n) in float32, in the order of the adapters; the weights go into B.

    Args:
        factors: one (B, A) per adapter, scaling in B; rank 0 for one that does not touch the module.
        weights: one per adapter, any sign.
    """
    b = torch.cat([weight * b for (b, _), weight in zip(factors, weights, strict=True)], dim=1)
    return b, torch.cat([a for _, a in factors])

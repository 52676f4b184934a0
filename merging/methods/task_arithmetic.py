"""Task arithmetic: λ·Σ wᵢ·ΔWᵢ (Ilharco et al. 2023, arXiv:2212.04089). A negative weight takes a skill away."""

from collections.abc import Sequence

from merging.numerics.lowrank import Factors


def coefficients(
    factors: Sequence[Factors], *, weights: Sequence[float], normalize: bool = False, lambda_: float = 1.0
) -> list[float]:
    """The numbers cᵢ for which Σ cᵢ·ΔWᵢ is the sum.

    Args:
        factors: one (B, A) per adapter; only their number matters here.
        weights: one per adapter, any sign.
        normalize: divide by the sum of the weights; where that is zero nothing is divided, as in mergekit.
        lambda_: λ, multiplies the whole.
    """
    total = sum(weights)
    divisor = total if normalize and abs(total) >= 1e-8 else 1.0
    return [lambda_ * weight / divisor for weight in weights]

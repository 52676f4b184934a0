"""The weighted average of adapters: Σ wᵢ·ΔWᵢ / Σ wᵢ (model soups, Wortsman et al. 2022, arXiv:2203.05482)."""

from collections.abc import Sequence

from medley.errors import ParameterError
from merging.numerics.lowrank import Factors


def coefficients(factors: Sequence[Factors], *, weights: Sequence[float], normalize: bool = True) -> list[float]:
    """The numbers cᵢ for which Σ cᵢ·ΔWᵢ is the average.

    An adapter that does not touch the module is a zero delta, and its weight still counts in the sum, as it does
    when whole models are averaged.

    Args:
        factors: one (B, A) per adapter; only their number matters here.
        weights: one per adapter, any sign.
        normalize: divide by the sum of the weights.

    Raises:
        ParameterError: the weights sum to zero and are to be divided by their sum.
    """
    if not normalize:
        return list(weights)
    total = sum(weights)
    if abs(total) < 1e-8:
        raise ParameterError(
            "The weights sum to 0 and linear divides by their sum. Change a weight or set normalize: false."
        )
    return [weight / total for weight in weights]

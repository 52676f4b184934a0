"""TIES: trim small entries, elect a sign per entry, average those that agree (Yadav et al. 2023, arXiv:2306.01708).

`merge` is mergekit's rule, `merge_paper` the paper's. They differ in three places: the scope of the trim (per module,
or the whole adapter), the election (by weighted values, or unweighted) and the average (over weights, or a count).
Deltas are (n, rows, cols) float32, in whatever space the runner chose.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from merging.numerics.row_blocks import over_rows
from merging.numerics.sparsity import l1_ratio, smallest_kept, whole_thresholds

CANCELLED = 1e-6  # weights whose sum is below this share of their magnitudes sum to what rounding left of 0


def merge(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator | None = None,
    density: Sequence[float],
    normalize: bool = True,
    rescale: bool = False,
    lambda_: float = 1.0,
) -> Tensor:
    """The merged delta (rows, cols) by mergekit 0.1.5's rule.

    Args:
        deltas: one per adapter.
        weights: one per adapter; they count in the election and in the average.
        generator: not used; TIES is not random.
        density: the share of each delta's entries that the trim keeps, in (0, 1]; equals at the edge all stay.
        normalize: divide by the sum of the weights of those that agree (then scaling all weights changes nothing).
        rescale: after the trim, scale up to the old Σ|entries|.
        lambda_: multiplies the result.
    """
    edges = [smallest_kept(delta, share) for delta, share in zip(deltas, density, strict=True)]
    ratios = l1_ratios(deltas, edges) if rescale else None
    return over_rows(
        lambda rows: lambda_ * _agreeing(trimmed(rows, edges, ratios), weights, normalize=normalize), deltas
    )


def trimmed(deltas: Tensor, edges: Sequence[float], ratios: Sequence[float] | None = None) -> Tensor:
    """Each delta with its entries below its edge zero, multiplied by its ratio."""
    below = torch.nextafter(torch.tensor(edges), torch.tensor(-torch.inf))  # hardshrink keeps what is above
    pairs = zip(deltas, below.tolist(), strict=True)
    kept = torch.stack([torch.nn.functional.hardshrink(delta, edge) for delta, edge in pairs])
    return kept if ratios is None else kept.mul_(torch.tensor(ratios)[:, None, None])


def l1_ratios(deltas: Tensor, edges: Sequence[float]) -> list[float]:
    """What brings each trimmed delta back to its old Σ|entries|."""
    return [l1_ratio(delta, trimmed(delta[None], [edge])[0]) for delta, edge in zip(deltas, edges, strict=True)]


def agreeing_sum(deltas: Tensor, weights: Sequence[float], *, normalize: bool) -> Tensor:
    """Per entry, the weighted sum of the adapters whose weighted sign is the sign of the total (+ where it is 0).

    Args:
        deltas: (n, rows, cols); zero entries take no side.
        weights: one per adapter.
        normalize: divide by the sum of the weights of those that agree. Where it is zero nothing is divided, as in
            mergekit; weights like 0.3, 0.4 and -0.7 sum to zero here too, and there to what rounding leaves of it.
    """
    return over_rows(lambda rows: _agreeing(rows, weights, normalize=normalize), deltas)


def _agreeing(deltas: Tensor, weights: Sequence[float], *, normalize: bool) -> Tensor:
    weight_N11 = torch.tensor(weights, dtype=deltas.dtype)[:, None, None]
    weighted = deltas * weight_N11
    elected = torch.where(weighted.sum(0) >= 0, 1.0, -1.0)
    agreed = weighted.mul_(elected).clamp_(min=0)  # zero where an adapter has the other sign
    total = agreed.sum(0).mul_(elected)
    if not normalize:
        return total
    divisor = agreed.sign_().mul_(weight_N11).sum(0)
    least = CANCELLED * sum(abs(weight) for weight in weights)
    return total / torch.where(divisor.abs() <= least, 1.0, divisor)


def prepare_paper(
    modules: Callable[[], Iterable[Sequence[tuple[int, Tensor]]]], *, density: Mapping[int, float]
) -> dict[str, dict[int, float]]:
    """What `merge_paper` must know of the whole adapters: the magnitude below which each one's entries go."""
    return {"threshold": whole_thresholds(modules, density)}


def merge_paper(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator | None = None,
    density: Sequence[float],
    threshold: Sequence[float],
    normalize: bool = True,
    rescale: bool = False,
    lambda_: float = 1.0,
) -> Tensor:
    """The merged delta by the paper's rule (section 4), where weights of 1 are the paper's own.

    Args:
        deltas, weights, generator, lambda_: as in `merge`; the weights scale the values, not the election.
        density: only says where to trim; the trim itself goes by `threshold`.
        threshold: per adapter, from `prepare_paper`.
        normalize: divide by the count of those that agree.
        rescale: after the trim, scale up to the old Σ|entries|.
    """
    edges = [edge if share < 1 else 0.0 for edge, share in zip(threshold, density, strict=True)]
    ratios = l1_ratios(deltas, edges) if rescale else None
    return lambda_ * agreeing_sum_paper(trimmed(deltas, edges, ratios), weights, normalize=normalize)


def agreeing_sum_paper(deltas: Tensor, weights: Sequence[float], *, normalize: bool) -> Tensor:
    """Per entry, the weighted sum of the adapters that have the sign of the unweighted total.

    Where the total is 0 the majority sign of the module is taken, as in the authors' code.

    Args:
        deltas: (n, rows, cols); zero entries take no side.
        weights: one per adapter; they scale the values only.
        normalize: divide by the count of those that agree (the paper's disjoint mean); False is a disjoint sum.
    """
    elected = deltas.sum(0).sign()
    majority = 1.0 if float(elected.sum()) >= 0 else -1.0
    agrees = deltas.sign() == torch.where(elected == 0, majority, elected)
    total = (deltas * agrees * torch.tensor(weights, dtype=deltas.dtype)[:, None, None]).sum(0)
    return total / agrees.sum(0).clamp(min=1) if normalize else total

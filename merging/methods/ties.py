"""TIES: trim small entries, elect a sign per entry, average those that agree (Yadav et al. 2023, arXiv:2306.01708).

`merge` is mergekit's rule, `merge_paper` the paper's. They differ in three places: the scope of the trim (per module,
or the whole adapter), the election (by weighted values, or unweighted) and the average (over weights, or a count).
Deltas are (n, rows, cols) float32, in whatever space the runner chose.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from merging.sparsity import keep, largest_mask, whole_thresholds


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
    trimmed = [
        keep(delta, largest_mask(delta, share), preserve_l1=rescale)
        for delta, share in zip(deltas, density, strict=True)
    ]
    return lambda_ * agreeing_sum(torch.stack(trimmed), weights, normalize=normalize)


def agreeing_sum(deltas: Tensor, weights: Sequence[float], *, normalize: bool) -> Tensor:
    """Per entry, the weighted sum of the adapters whose weighted sign is the sign of the total (+ where it is 0).

    Args:
        deltas: (n, rows, cols); zero entries take no side.
        weights: one per adapter.
        normalize: divide by the sum of the weights of those that agree.
    """
    weight_N11 = torch.tensor(weights, dtype=deltas.dtype)[:, None, None]
    weighted = deltas * weight_N11
    elected = torch.where(weighted.sum(0) >= 0, 1.0, -1.0)
    agrees = weighted.sign() == elected
    total = (weighted * agrees).sum(0)
    if not normalize:
        return total
    divisor = (weight_N11 * agrees).sum(0)
    return total / torch.where(divisor == 0, 1.0, divisor)


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
    trimmed = torch.stack(
        [
            keep(delta, delta.abs() >= (edge if share < 1 else 0.0), preserve_l1=rescale)
            for delta, edge, share in zip(deltas, threshold, density, strict=True)
        ]
    )
    return lambda_ * agreeing_sum_paper(trimmed, weights, normalize=normalize)


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

"""DELLA without the election: drop at random, small entries more often, scale the rest up, add (Deep et al. 2024).

arXiv:2406.11617, section 3. `merge` is mergekit's rule, `merge_paper` the paper's; the chances are the same, they
differ in what makes up for what was dropped. Deltas are (n, rows, cols) float32, in whatever space the runner chose.
"""

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from medley.errors import ParameterError
from merging.method import spread_problem
from merging.methods.dare_linear import weighted_sum
from merging.numerics.sparsity import keep


def merge(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator,
    density: Sequence[float],
    epsilon: Sequence[float],
    normalize: bool = False,
    rescale: bool = True,
    lambda_: float = 1.0,
) -> Tensor:
    """The merged delta (rows, cols) by mergekit 0.1.5's rule.

    Args:
        deltas: one per adapter.
        weights: one per adapter, any sign.
        generator: draws what is dropped, one adapter after the other.
        density: the mean chance of an entry to stay, in (0, 1]; at 1 nothing is dropped.
        epsilon: how far the chances of the smallest and the largest entry of a row are from the mean.
        normalize: divide by the sum of the weights (not where it is zero).
        rescale: scale what stays up to the old Σ|entries|, by one factor for the whole delta.
        lambda_: multiplies the result.

    Raises:
        ParameterError: density ± epsilon is not between 0 and 1.
    """
    thinned = thin(deltas, density, epsilon, generator, rescale=rescale)
    return lambda_ * weighted_sum(thinned, weights, normalize=normalize)


def merge_paper(
    deltas: Tensor,
    *,
    weights: Sequence[float],
    generator: torch.Generator,
    density: Sequence[float],
    epsilon: Sequence[float],
    normalize: bool = False,
    rescale: bool = True,
    lambda_: float = 1.0,
) -> Tensor:
    """The merged delta by the paper's rule: `rescale` divides each entry by its own chance. Otherwise as `merge`."""
    thinned = thin_paper(deltas, density, epsilon, generator, rescale=rescale)
    return lambda_ * weighted_sum(thinned, weights, normalize=normalize)


def thin(
    deltas: Tensor, density: Sequence[float], epsilon: Sequence[float], generator: torch.Generator, *, rescale: bool
) -> Tensor:
    """Each delta thinned at random by magnitude; `rescale` restores its Σ|entries| (mergekit)."""
    thinned = []
    for delta, share, spread in zip(deltas, density, epsilon, strict=True):
        chances = keep_chances(delta, share, spread)
        thinned.append(keep(delta, chosen_mask(chances, share, generator), preserve_l1=rescale))
    return torch.stack(thinned)


def thin_paper(
    deltas: Tensor, density: Sequence[float], epsilon: Sequence[float], generator: torch.Generator, *, rescale: bool
) -> Tensor:
    """Each delta thinned at random by magnitude; `rescale` divides each entry by its chance, which keeps its mean."""
    thinned = []
    for delta, share, spread in zip(deltas, density, epsilon, strict=True):
        chances = keep_chances(delta, share, spread)
        kept = delta * chosen_mask(chances, share, generator)
        thinned.append(kept / chances if rescale else kept)
    return torch.stack(thinned)


def keep_chances(delta: Tensor, density: float, epsilon: float) -> Tensor:
    """Each entry's chance to stay: from density − epsilon at a row's smallest magnitude, by rank, to density + epsilon.

    Entries of equal magnitude share the mean of their ranks, so their order does not matter; a row of equals (or of
    one entry) has the chance `density` throughout.

    Args:
        delta: (rows, cols).
        density: in (0, 1]; at 1 every chance is 1.
        epsilon: at least 0.

    Raises:
        ParameterError: density ± epsilon is not between 0 and 1.
    """
    problem = spread_problem(density, epsilon)
    if problem:
        raise ParameterError(problem)
    if density >= 1 or delta.numel() == 0:
        return torch.ones_like(delta)
    highest = delta.shape[1] - 1
    place = ranks_within_rows(delta.abs()) / highest if highest > 0 else torch.full_like(delta, 0.5)
    return (density - epsilon) + place * 2 * epsilon


def ranks_within_rows(values: Tensor) -> Tensor:
    """Each entry's place among its row's, from 0 for the smallest; equal entries share the mean of their places."""
    order = torch.from_numpy(numpy.argsort(values.numpy(), axis=1))  # several times faster than torch's on a CPU
    places = torch.arange(values.shape[1], dtype=values.dtype).repeat(len(values), 1)
    _share_places(places, values.gather(1, order))
    return torch.empty_like(values).scatter_(1, order, places)


def _share_places(places: Tensor, sorted_rows: Tensor) -> None:
    """Give equal entries the mean of their places, in place; most long rows have a few that are equal."""
    rows, columns = (sorted_rows[:, 1:] == sorted_rows[:, :-1]).nonzero(as_tuple=True)  # each equals the one after it
    if not len(rows):
        return
    is_first = torch.ones_like(rows, dtype=torch.bool)
    is_first[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1] + 1)
    run = is_first.cumsum(0) - 1
    mean = (2 * columns[is_first] + run.bincount()).to(places.dtype) / 2  # of first, first + 1, …, first + pairs
    places[rows, columns] = mean[run]
    places[rows, columns + 1] = mean[run]


def chosen_mask(chances: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """True at each entry with its chance, independently; at density 1 nothing is drawn."""
    if density >= 1:
        return torch.ones_like(chances, dtype=torch.bool)
    return torch.rand(chances.shape, generator=generator) < chances

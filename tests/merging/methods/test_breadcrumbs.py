"""What stays between the small entries and the extreme ones, by hand; also of pruning by magnitude alone."""

import pytest
import torch

from merging.methods import breadcrumbs, breadcrumbs_ties, magnitude_prune
from merging.methods.breadcrumbs import band_mask


def rows(*values: list[float]) -> torch.Tensor:
    """Deltas of one row each, (n, 1, columns)."""
    return torch.tensor(values)[:, None, :]


def kept(values: list[float], density: float, gamma: float) -> list[float]:
    delta = torch.tensor([values])
    return (delta * band_mask(delta, density, gamma))[0].tolist()


def test_the_band_by_hand() -> None:
    # 10 entries: gamma 0.2 drops 9 and 10, density 0.5 keeps the 5 below: 8, 7, 6, 5, 4
    values = [1.0, -10.0, 3.0, -4.0, 5.0, 6.0, -7.0, 8.0, 9.0, 2.0]
    assert kept(values, 0.5, 0.2) == [0, 0, 0, -4.0, 5.0, 6.0, -7.0, 8.0, 0, 0]
    # density 0.9 with gamma 0.2 is more than everything: only one extreme goes
    assert kept(values, 0.9, 0.2) == [1.0, 0, *values[2:]]
    assert kept(values, 1.0, 0.2) == values


def test_a_tensor_too_small_for_an_extreme_keeps_its_largest() -> None:
    """⌊gamma·size⌋ = 0 must mean that no extreme goes, not that nothing stays (mergekit before 0.1.5)."""
    assert kept([1.0, -2.0, 3.0, 4.0], 0.5, 0.01) == [0, 0, 3.0, 4.0]
    assert kept([1.0, -2.0], 0.5, 0.01) == [0, -2.0]
    assert kept([5.0], 0.3, 0.01) == [5.0]  # ⌊0.3·1⌋ = 0, and yet one stays
    assert kept([1.0, 2.0, 3.0], 0.3, 0.4) == [0, 2.0, 0]


def test_equals_at_an_edge_all_stay() -> None:
    # of [3, 3, 2, 2, 1, 1] gamma 1/6 drops one 3 and density 0.5 keeps 3, 2, 2: the other 3 is its equal
    assert kept([3.0, -3.0, 2.0, 2.0, 1.0, -1.0], 0.5, 1 / 6) == [3.0, -3.0, 2.0, 2.0, 0, 0]
    # density 1/3 keeps 3, 2 of it: the other 2 is equal too
    assert kept([1.0, 2.0, 3.0, 2.0, 3.0, 1.0], 1 / 3 + 1e-9, 1 / 6) == [0, 2.0, 3.0, 2.0, 3.0, 0]
    assert kept([0.0, 0.0, 0.0], 0.5, 0.3) == [0, 0, 0]


def test_the_sum_by_hand() -> None:
    # density 0.5, gamma 0.25: of each 4 the largest goes and the next 2 stay
    #   first  [4, -3, 2, 1] -> [0, -3, 2, 0]
    #   second [1,  2, -3, 4] -> [0, 2, -3, 0]
    # weights 2 and 1: [0, -4, 1, 0]; divided by 3 with normalize; times lambda 3
    deltas = rows([4.0, -3.0, 2.0, 1.0], [1.0, 2.0, -3.0, 4.0])
    settings = {"weights": [2.0, 1.0], "density": [0.5, 0.5], "gamma": [0.25, 0.25]}
    assert breadcrumbs.merge(deltas, **settings).tolist() == [[0, -4.0, 1.0, 0]]
    merged = breadcrumbs.merge(deltas, **settings, normalize=True, lambda_=3.0)
    assert merged.tolist() == [[0, pytest.approx(-4.0), pytest.approx(1.0), 0]]
    # rescale: Σ|first| = 10 over 5 -> x2, Σ|second| = 10 over 5 -> x2
    assert breadcrumbs.merge(deltas, **settings, rescale=True).tolist() == [[0, -8.0, 2.0, 0]]


def test_then_the_majority_by_hand() -> None:
    # banded as above; weighted [0, -6, 4, 0], [0, 2, -3, 0]; totals -4, 1 -> -, +; 2 and -3 disagree
    deltas = rows([4.0, -3.0, 2.0, 1.0], [1.0, 2.0, -3.0, 4.0])
    settings = {"weights": [2.0, 1.0], "density": [0.5, 0.5], "gamma": [0.25, 0.25]}
    assert breadcrumbs_ties.merge(deltas, **settings).tolist() == [[0, -6.0, 4.0, 0]]
    assert breadcrumbs_ties.merge(deltas, **settings, normalize=True).tolist() == [[0, -3.0, 2.0, 0]]
    # the paper elects without weights: totals -1, -1 -> -, -; -3·2 and -3·1 stay; each is one, so the mean is itself
    assert breadcrumbs_ties.merge_paper(deltas, **settings).tolist() == [[0, -6.0, -3.0, 0]]
    assert breadcrumbs_ties.merge_paper(deltas, **settings, normalize=True).tolist() == [[0, -6.0, -3.0, 0]]


def test_pruning_by_magnitude_by_hand() -> None:
    # density 0.5 keeps [4, -3] and [-3, 4]; weights 2 and -1: [8, -6, 3, -4]
    deltas = rows([4.0, -3.0, 2.0, 1.0], [1.0, 2.0, -3.0, 4.0])
    assert magnitude_prune.merge(deltas, weights=[2.0, -1.0], density=[0.5, 0.5]).tolist() == [[8.0, -6.0, 3.0, -4.0]]
    # one density each: 0.25 of the second keeps its 4 alone
    assert magnitude_prune.merge(deltas, weights=[2.0, -1.0], density=[1.0, 0.25]).tolist() == [[8.0, -6.0, 4.0, -2.0]]

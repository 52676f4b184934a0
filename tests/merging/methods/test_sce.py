"""Select, calculate, erase: by hand."""

from pathlib import Path

import pytest
import torch

from medley.errors import ParameterError
from merging import recipe_from_weights
from merging.methods import sce
from merging.methods.sce import select_mask


def rows(*values: list[float]) -> torch.Tensor:
    """Deltas of one row each, (n, 1, columns)."""
    return torch.tensor(values)[:, None, :]


def test_the_shares_are_the_mean_squares() -> None:
    # everything selected: mean squares (16 + 4)/2 = 10 and (4 + 16)/2 = 10: shares 0.5 each
    # totals [2, 6] -> +, +; entry 0: the -2 is erased: 0.5·4 / 0.5; entry 1: (0.5·2 + 0.5·4) / 1
    assert sce.merge(rows([4.0, 2.0], [-2.0, 4.0])).tolist() == [[4.0, 3.0]]
    # mean squares 45 and 5: shares 0.9 and 0.1; totals [12, 4] -> both agree: 0.9·9 + 0.1·3, 0.9·3 + 0.1·1
    assert sce.merge(rows([9.0, 3.0], [3.0, 1.0])).tolist() == [pytest.approx([8.4, 2.8])]


def test_only_the_entries_that_vary_most_count() -> None:
    # variances of the pairs: (4-0)²/4 = 4, (2-2)²/4 = 0, (3-1)²/4 = 1, (1-0)²/4 = 0.25: three vary
    # topk 0.7: ⌊0.7·3⌋ = 2 -> entries 0 and 2; mean squares (16 + 9)/4 and (0 + 1)/4: shares 25/26 and 1/26
    # entry 0: the second is 0 and takes no side: 4; entry 2: (25·3 + 1·1)/26
    deltas = rows([4.0, 2.0, 3.0, 1.0], [0.0, 2.0, 1.0, 0.0])
    assert select_mask(deltas, 0.7).tolist() == [[True, False, True, False]]
    assert sce.merge(deltas, select_topk=0.7).tolist() == [pytest.approx([4.0, 0.0, 76 / 26, 0.0])]
    assert select_mask(deltas, 0.01).tolist() == [[True, False, False, False]]  # one at least


def test_equal_variances_are_chosen_together_and_where_nothing_varies_everything_is() -> None:
    # variances 4, 1, 1, 0: two of three wanted, and the third equals the second
    assert select_mask(rows([4.0, 2.0, 3.0, 1.0], [0.0, 0.0, 1.0, 1.0]), 0.7).tolist() == [[True, True, True, False]]
    alone = rows([4.0, -2.0, 3.0])
    assert sce.merge(alone, select_topk=0.5).tolist() == alone[0].tolist()
    same = torch.cat([torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0))] * 3)
    assert torch.allclose(sce.merge(same, select_topk=0.2), same[0])


def test_small_deltas_fall_under_mergekits_floor_and_not_under_the_papers() -> None:
    # a hundredth of a hundredth of the deltas above: mean squares 4.5e-7 and 5e-8 sum to less than 1e-6
    small = rows([9.0, 3.0], [3.0, 1.0]) * 1e-4
    assert sce.merge(small).tolist() == [pytest.approx([6e-4, 2e-4])]  # one share each: the plain mean
    assert sce.merge_paper(small).tolist() == [pytest.approx([8.4e-4, 2.8e-4])]
    assert torch.allclose(sce.merge_paper(small * 1e4), sce.merge(small * 1e4))


def test_zero_deltas_stay_zero() -> None:
    for rule in (sce.merge, sce.merge_paper):
        assert rule(torch.zeros(2, 2, 3), select_topk=0.5).tolist() == torch.zeros(2, 3).tolist()


def test_weights_are_refused_because_sce_finds_them() -> None:
    with pytest.raises(ParameterError) as caught:
        recipe_from_weights("sce", [(Path("a"), 0.5), (Path("b"), None)])
    assert str(caught.value) == "sce finds its weights itself. Leave the weights out."

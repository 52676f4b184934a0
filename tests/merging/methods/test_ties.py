import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merging.methods import ties
from merging.numerics.sparsity import keep, largest_mask, random_mask, whole_thresholds


def rows(*values: list[float]) -> torch.Tensor:
    """Deltas of one row each, (n, 1, columns)."""
    return torch.tensor(values)[:, None, :]


def test_trim_elect_and_mean_by_hand() -> None:
    # density 0.5 keeps the 2 largest of 4 entries:
    #   first  [ 4, -3, 1, 0.5] -> [4, -3, 0, 0]
    #   second [-1,  5, 2, 0.1] -> [0,  5, 2, 0]
    # weights 1: totals [4, 2, 2, 0] -> signs +, +, +, +; the first's -3 disagrees
    # mean of those that agree: [4/1, 5/1, 2/1, 0]
    merged = ties.merge(rows([4.0, -3.0, 1.0, 0.5], [-1.0, 5.0, 2.0, 0.1]), weights=[1.0, 1.0], density=[0.5, 0.5])
    assert merged.tolist() == [[4.0, 5.0, 2.0, 0.0]]


def test_weights_elect_and_average_in_mergekits_rule() -> None:
    # weights 3 and 1: weighted [12, -9], [-1, 5]; totals 11, -4 -> signs +, -
    # entry 0: 12/3 = 4; entry 1: -9/3 = -3; without normalize 12 and -9; lambda doubles
    deltas = rows([4.0, -3.0], [-1.0, 5.0])
    assert ties.merge(deltas, weights=[3.0, 1.0], density=[1.0, 1.0]).tolist() == [[4.0, -3.0]]
    summed = ties.merge(deltas, weights=[3.0, 1.0], density=[1.0, 1.0], normalize=False, lambda_=2.0)
    assert summed.tolist() == [[24.0, -18.0]]


def test_weights_that_cancel_but_for_rounding_do_not_divide() -> None:
    # weighted [0.3, 0.4, 2.1]: all agree; 0.3 + 0.4 - 0.7 leaves 6e-8 in float32, and the sum 2.8 is not divided
    merged = ties.merge(rows([1.0], [1.0], [-3.0]), weights=[0.3, 0.4, -0.7], density=[1.0] * 3)
    assert merged.tolist() == [[pytest.approx(2.8)]]


def test_the_paper_elects_without_weights_and_counts() -> None:
    # totals without weights: [3, 2] -> +, +; entry 0: only the first agrees, 3·4 / 1 = 12; entry 1: the second, 1·5 / 1
    merged = ties.merge_paper(
        rows([4.0, -3.0], [-1.0, 5.0]), weights=[3.0, 1.0], density=[1.0, 1.0], threshold=[0.0, 0.0]
    )
    assert merged.tolist() == [[12.0, 5.0]]


def test_a_tie_of_signs_goes_up_in_mergekits_rule_and_to_the_majority_in_the_papers() -> None:
    # entries 1 and 2 are negative for both, entry 0 cancels
    deltas = rows([1.0, -2.0, -2.0], [-1.0, -2.0, -2.0])
    weights, density = [1.0, 1.0], [1.0, 1.0]
    assert ties.merge(deltas, weights=weights, density=density).tolist() == [[1.0, -2.0, -2.0]]
    paper = ties.merge_paper(deltas, weights=weights, density=density, threshold=[0.0, 0.0])
    assert paper.tolist() == [[-1.0, -2.0, -2.0]]


def test_rescale_restores_the_sum_of_magnitudes() -> None:
    # [4, -3, 1] at density 2/3 keeps 4 and -3: 7 of 8, scaled by 8/7
    kept = keep(torch.tensor([[4.0, -3.0, 1.0]]), torch.tensor([[True, True, False]]), preserve_l1=True)
    assert kept.tolist() == [pytest.approx([32 / 7, -24 / 7, 0.0])]


def test_the_trim_keeps_at_least_one_and_all_equals_at_the_edge() -> None:
    assert largest_mask(torch.tensor([[1.0, 3.0, 2.0]]), 0.01).tolist() == [[False, True, False]]
    assert largest_mask(torch.tensor([[2.0, -2.0, 1.0, 2.0]]), 0.25).tolist() == [[True, True, False, True]]
    assert largest_mask(torch.zeros(1, 4), 0.5).tolist() == [[True] * 4]  # zeros take no side anyway


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.floats(0.05, 1.0), st.integers(1, 4))
def test_whole_thresholds_are_those_of_a_sort(seed: int, density: float, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    modules = [[(0, torch.randn(3, 5, generator=generator) * 10.0**index)] for index in range(count)]
    entries = (
        torch.cat([delta.abs().flatten() for module in modules for _, delta in module]).sort(descending=True).values
    )
    wanted = float(entries[max(1, int(density * len(entries))) - 1])
    assert whole_thresholds(lambda: modules, {0: density}) == {0: wanted}


def test_the_papers_trim_looks_at_the_whole_adapter() -> None:
    # the second module is ten times larger: at density 0.5 of both, nothing of the first stays
    modules = [[(0, torch.tensor([[1.0, 2.0]]))], [(0, torch.tensor([[10.0, 20.0]]))]]
    prepared = ties.prepare_paper(lambda: modules, density={0: 0.5})
    assert prepared == {"threshold": {0: 10.0}}
    first = ties.merge_paper(modules[0][0][1][None], weights=[1.0], density=[0.5], threshold=[10.0])
    assert first.tolist() == [[0.0, 0.0]]
    per_module = ties.merge(modules[0][0][1][None], weights=[1.0], density=[0.5])
    assert per_module.tolist() == [[0.0, 2.0]]


def test_random_mask_keeps_about_its_share() -> None:
    mask = random_mask(torch.zeros(400, 500), 0.3, torch.Generator().manual_seed(0))
    assert abs(float(mask.float().mean()) - 0.3) < 4 * (0.3 * 0.7 / 200_000) ** 0.5  # four standard deviations

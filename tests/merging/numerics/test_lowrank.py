import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merging.methods import ties
from merging.numerics.coefficients import PerColumn, PerRow
from merging.numerics.lowrank import (
    column_products,
    decompose,
    gram,
    inner_product,
    norm,
    randomized,
    rank_for_energy,
    row_products,
    stack,
    weighted_sum,
)
from tests.merging.lora_files import random_factors, relative_error


def test_inner_product_of_two_rank_one_deltas_by_hand() -> None:
    # ΔW₁ = [1;2]·[3 0] = [[3,0],[6,0]], ΔW₂ = [1;1]·[1 1] = [[1,1],[1,1]]: 3·1 + 0·1 + 6·1 + 0·1 = 9; ‖ΔW₁‖ = √45
    first = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 0.0]])
    second = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0, 1.0]])
    assert inner_product(first, second) == 9.0
    assert norm(first) == pytest.approx(math.sqrt(45))


def test_weighted_sum_of_two_axes_by_hand() -> None:
    # 2·e₁e₁ᵀ·3 + 1·e₂e₂ᵀ·4 = diag(6, 4): singular values 6 and 4; rank 1 keeps 36/52 of the energy
    east = torch.tensor([[3.0], [0.0]]), torch.tensor([[1.0, 0.0]])
    north = torch.tensor([[0.0], [4.0]]), torch.tensor([[0.0, 1.0]])
    spectrum = weighted_sum([east, north], [2.0, 1.0])
    assert spectrum.values.tolist() == pytest.approx([6.0, 4.0])
    assert spectrum.energy(1) == pytest.approx(36 / 52)
    b, a = spectrum.factors(1)
    assert torch.allclose(b @ a, torch.tensor([[6.0, 0.0], [0.0, 0.0]], dtype=torch.float64))


def test_numbers_per_row_and_per_column_scale_one_side_of_the_factors() -> None:
    # [[1, 2], [3, 4]]: rows times (10, 1) = [[10, 20], [3, 4]], columns times (1, 10) = [[1, 20], [3, 40]]
    delta = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.eye(2)
    for by, wanted in (
        (PerRow(torch.tensor([10.0, 1.0])), [[10.0, 20.0], [3.0, 4.0]]),
        (PerColumn(torch.tensor([1.0, 10.0])), [[1.0, 20.0], [3.0, 40.0]]),
    ):
        b, a = stack([delta], [by])
        assert (b @ a).tolist() == wanted
        spectrum = weighted_sum([delta, delta], [by, 0.0])
        assert torch.allclose(spectrum.left * spectrum.values @ spectrum.right, torch.tensor(wanted).double())


def test_inner_products_of_rows_and_columns_are_the_dense_ones() -> None:
    first, second = random_factors(6, 5, 3, 1), random_factors(6, 5, 2, 2)
    dense = (first[0].double() @ first[1].double()) * (second[0].double() @ second[1].double())
    assert torch.allclose(row_products(first, second), dense.sum(1), atol=1e-9)
    assert torch.allclose(column_products(first, second), dense.sum(0), atol=1e-9)
    assert float(gram([first, second])[1, 0]) == pytest.approx(float(dense.sum()))


ranks = st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), ranks, st.integers(0, 10_000), st.data())
def test_weighted_sum_equals_the_dense_one(
    rows: int, columns: int, ranks: list[int], seed: int, data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.floats(-2, 2), min_size=len(ranks), max_size=len(ranks)))
    factors = [random_factors(rows, columns, rank, seed + index) for index, rank in enumerate(ranks)]
    dense = sum(weight * b.double() @ a.double() for weight, (b, a) in zip(weights, factors, strict=True))
    spectrum = weighted_sum(factors, weights)
    b, a = spectrum.factors(spectrum.rank)
    size = sum(abs(weight) * float(norm(each)) for weight, each in zip(weights, factors, strict=True))
    assert float((b @ a - dense).norm()) <= 2e-7 * size
    assert spectrum.rank <= min(rows, columns, sum(ranks))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_the_cut_is_the_best_one_and_its_energy_is_known(seed: int, rank: int) -> None:
    factors = [random_factors(8, 7, 3, seed), random_factors(8, 7, 3, seed + 1)]
    dense = sum(b.double() @ a.double() for b, a in factors)
    spectrum = weighted_sum(factors, [1.0, 1.0])
    b, a = spectrum.factors(rank)
    values = torch.linalg.svdvals(dense)
    assert float((b @ a - dense).norm()) == pytest.approx(float(values[rank:].norm()), rel=1e-5, abs=1e-9)
    assert 1 - spectrum.energy(rank) == pytest.approx(
        float(values[rank:].square().sum() / values.square().sum()), abs=1e-9
    )


def test_what_cancels_is_rank_zero_and_not_rounding() -> None:
    delta = random_factors(50, 40, 3, seed=0)
    assert weighted_sum([delta, delta], [1.0, -1.0]).rank == 0
    assert weighted_sum([delta, delta], [0.3, 0.7]).rank == 3
    assert weighted_sum([delta], [1e-20]).rank == 3


def test_zero_and_single_row_deltas() -> None:
    zero = torch.zeros(4, 2), torch.zeros(2, 3)
    assert weighted_sum([zero], [1.0]).rank == 0
    assert weighted_sum([zero], [1.0]).energy(0) == 1.0
    row = torch.tensor([[2.0]]), torch.tensor([[3.0, 4.0]])
    assert weighted_sum([row], [1.0]).values.tolist() == pytest.approx([10.0])  # 2·√(9+16)


def test_rank_for_energy_counts_from_the_largest() -> None:
    values = torch.tensor([3.0, 2.0, 1.0])  # squares 9, 4, 1 of 14: 0.643, 0.929, 1
    assert [rank_for_energy(values, share) for share in (0.5, 0.643, 0.7, 0.93, 1.0)] == [1, 2, 2, 3, 3]
    assert rank_for_energy(values, 0.5, total=28.0) == 3  # of a larger whole even all of them are just half
    assert rank_for_energy(torch.tensor([2.0, 2.0]), 0.5) == 1  # exactly reached is enough


def test_randomized_is_within_a_percent_of_the_best_cut_of_a_flat_spectrum() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(120, 90, generator=generator)  # the hardest case: no gap anywhere
    rank = 12
    best = float(torch.linalg.svdvals(noise.double())[rank:].norm())
    spectrum = randomized(noise, rank, generator)
    b, a = spectrum.factors(rank)
    assert best <= float((noise - b @ a).norm()) <= 1.01 * best


@pytest.mark.parametrize("density", [0.1, 0.5])
def test_randomized_is_within_a_percent_of_the_best_cut_of_merged_deltas(density: float) -> None:
    """With the adapters' own row space as the guess; the spectrum behind it is that of noise."""
    factors = [random_factors(200, 160, 4, seed) for seed in range(3)]
    deltas = torch.stack([b @ a for b, a in factors])
    merged = ties.merge(deltas, weights=[0.5, 0.3, 0.2], density=[density] * 3)
    values = torch.linalg.svdvals(merged.double())
    guess = torch.cat([a for _, a in factors]).T
    for rank in (2, 12, 30):
        spectrum = randomized(merged, rank, torch.Generator().manual_seed(0), start=guess)
        b, a = spectrum.factors(rank)
        best = float(values[rank:].norm())
        assert best * (1 - 1e-6) <= float((merged - b @ a).norm()) <= 1.01 * best


def test_a_guess_that_is_wrong_or_zero_does_no_harm() -> None:
    matrix = torch.diag(torch.tensor([5.0, 4.0, 3.0] + [0.1] * 57))
    wrong, none = torch.eye(60)[:, 40:45], torch.zeros(60, 5)
    for guess in (wrong, none):
        spectrum = randomized(matrix, 3, torch.Generator().manual_seed(0), start=guess)
        assert spectrum.values.tolist() == pytest.approx([5.0, 4.0, 3.0], rel=1e-5)


def test_randomized_finds_a_low_rank_matrix_exactly() -> None:
    b, a = random_factors(80, 70, 5, seed=3)
    spectrum = randomized(b @ a, 9, torch.Generator().manual_seed(0))
    assert spectrum.rank in (5, 6, 7, 8, 9)  # rounding of float32 may stand above the numerical rank
    left, right = spectrum.factors(5)
    assert relative_error(left @ right, b.double() @ a.double()) < 1e-6


def test_decompose_has_orthonormal_sides() -> None:
    b, a = random_factors(9, 8, 4, seed=5)
    spectrum = decompose(b.double(), a.double())
    identity = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(spectrum.left.T @ spectrum.left, identity, atol=1e-12)
    assert torch.allclose(spectrum.right @ spectrum.right.T, identity, atol=1e-12)

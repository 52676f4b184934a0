import pytest
import torch

from merging.numerics.lowrank import norm, stack, weighted_sum
from merging.numerics.written import distance, norm_and_rounding, rounding, written_error
from tests.merging.lora_files import random_factors


@pytest.mark.parametrize(
    ("dtype", "rank"), [(torch.float32, 6), (torch.bfloat16, 6), (torch.bfloat16, 2), (torch.float16, 3)]
)
def test_the_written_error_is_the_measured_one(dtype: torch.dtype, rank: int) -> None:
    spectrum = weighted_sum([random_factors(30, 20, 3, 1), random_factors(30, 20, 3, 2)], [0.4, 0.6])
    exact = spectrum.left * spectrum.values @ spectrum.right
    cut = spectrum.factors(rank)
    b, a = (factor.to(dtype) for factor in cut)
    measured = float((exact - b.double() @ a.double()).norm())
    assert written_error(spectrum, cut, (b, a)) == pytest.approx(measured, rel=1e-4)


def test_distance_between_factorisations() -> None:
    first, second = random_factors(6, 5, 2, 1), random_factors(6, 5, 3, 2)
    measured = float((first[0] @ first[1] - second[0] @ second[1]).double().norm())
    assert distance(first, second) == pytest.approx(measured, rel=1e-5)
    assert distance(first, first) < 1e-12


@pytest.mark.parametrize("weights", [(0.4, 0.6), (1.0, -1.0), (1.0, -0.999)])
def test_norm_and_rounding_are_those_of_the_dense_deltas(weights: tuple[float, float]) -> None:
    """Two adapters that differ by a thousandth, so that the last two sums cancel all but that."""
    b, a = random_factors(60, 50, 3, 1)
    exact = stack([(b, a), (b, a * 1.001)], weights)
    a_in_file = exact[1].bfloat16().double()  # as it came from a file of bfloat16
    for rows in (exact[1], a_in_file):
        factors = exact[0], rows
        written = factors[0].bfloat16(), factors[1].bfloat16()
        size, moved = norm_and_rounding(factors, written)
        dense = factors[0] @ factors[1]
        rounded = 1e-7 * float(norm((b, a)))  # what the square of a sum leaves where all but a millionth cancels
        assert size == pytest.approx(float(dense.norm()), rel=1e-5, abs=rounded)
        measured = float((dense - written[0].double() @ written[1].double()).norm())
        assert moved == pytest.approx(measured, rel=1e-3)


def test_what_a_cast_does_not_move_has_no_rounding() -> None:
    factors = (torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5, 4.0]]))  # exact in bfloat16
    exact = factors[0].double(), factors[1].double()
    written = factors[0].bfloat16(), factors[1].bfloat16()
    assert rounding(exact, written) == 0.0
    assert norm_and_rounding(exact, written) == (pytest.approx(norm(factors)), 0.0)


def test_a_cut_and_a_cast_of_like_size_are_measured_together() -> None:
    """The tail is as small as what bfloat16 moves, and the cast moves towards it: nothing may be left out."""
    b = torch.diag(torch.tensor([1.0, 0.003]))
    spectrum = weighted_sum([(b, torch.tensor([[1.0, 0.3], [0.3, 1.0]]))], [1.0])
    cut = spectrum.factors(1)
    written = cut[0] + 0.05 * spectrum.left[:, 1:], cut[1] + 0.05 * spectrum.right[1:]
    exact = spectrum.left * spectrum.values @ spectrum.right
    assert written_error(spectrum, cut, written) == pytest.approx(float((exact - written[0] @ written[1]).norm()))

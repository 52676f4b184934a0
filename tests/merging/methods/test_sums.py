"""Weighted sums and stacked factors: linear, task arithmetic, slerp, concat, and peft's averaging beside them."""

import math

import pytest
import torch

from medley.errors import IncompatibleError, ParameterError
from merging.methods import concat, factor, linear, slerp, task_arithmetic
from tests.merging.lora_files import Factors, random_factors, relative_error


def rank_one(row: list[float], column: list[float]) -> Factors:
    return torch.tensor(row)[:, None], torch.tensor(column)[None, :]


def dense_sum(factors: list[Factors], weights: list[float]) -> torch.Tensor:
    return sum(weight * b.double() @ a.double() for (b, a), weight in zip(factors, weights, strict=True))


def test_linear_divides_by_the_sum_of_the_weights() -> None:
    assert linear.coefficients([], weights=[1.0, 3.0]) == [0.25, 0.75]
    assert linear.coefficients([], weights=[1.0, 3.0], normalize=False) == [1.0, 3.0]
    assert linear.coefficients([], weights=[2.0, -1.0]) == [2.0, -1.0]


def test_linear_cannot_divide_by_zero() -> None:
    message = "The weights sum to 0 and linear divides by their sum. Change a weight or set normalize: false."
    with pytest.raises(ParameterError) as caught:
        linear.coefficients([], weights=[1.0, -1.0])
    assert str(caught.value) == message


def test_task_arithmetic_adds_and_scales() -> None:
    assert task_arithmetic.coefficients([], weights=[1.0, -0.5], lambda_=2.0) == [2.0, -1.0]
    assert task_arithmetic.coefficients([], weights=[1.0, 3.0], normalize=True) == [0.25, 0.75]
    assert task_arithmetic.coefficients([], weights=[1.0, -1.0], normalize=True) == [1.0, -1.0]  # as in mergekit


def test_halfway_between_orthogonal_deltas_has_equal_weights() -> None:
    # ΔW₁ = [[1,0],[0,0]], ΔW₂ = [[0,0],[0,1]]: ⟨ΔW₁,ΔW₂⟩ = 0, angle 90°, both weights sin 45° / sin 90° = 0.7071
    east, north = rank_one([1.0, 0.0], [1.0, 0.0]), rank_one([0.0, 1.0], [0.0, 1.0])
    assert slerp.coefficients([east, north], t=0.5) == pytest.approx([math.sqrt(0.5)] * 2)


def test_slerp_at_sixty_degrees_by_hand() -> None:
    # cos = 1/2, angle 60°; at t = 1/4: sin 45° / sin 60° = 0.8165 and sin 15° / sin 60° = 0.2989
    east, steep = rank_one([1.0, 0.0], [1.0, 0.0]), rank_one([1.0, math.sqrt(3)], [1.0, 0.0])
    assert slerp.coefficients([east, steep], t=0.25) == pytest.approx([0.816497, 0.298858], abs=1e-6)


def test_the_ends_of_the_arc_are_the_adapters() -> None:
    pair = [random_factors(6, 5, 3, 1), random_factors(6, 5, 2, 2)]
    assert slerp.coefficients(pair, t=0.0) == pytest.approx([1.0, 0.0])
    assert slerp.coefficients(pair, t=1.0) == pytest.approx([0.0, 1.0], abs=1e-12)


def test_slerp_of_parallel_or_missing_deltas_is_a_straight_line() -> None:
    delta = random_factors(6, 5, 3, 1)
    opposite = -delta[0], delta[1]
    missing = torch.zeros(6, 0), torch.zeros(0, 5)
    for other in (delta, opposite, missing):
        assert slerp.coefficients([delta, other], t=0.3) == [0.7, 0.3]


def test_changing_the_factors_but_not_the_delta_changes_no_slerp() -> None:
    (b, a), other = random_factors(6, 5, 3, 1), random_factors(6, 5, 2, 2)
    gauge = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    same_delta = b.double() @ gauge, torch.linalg.solve(gauge, a.double())
    assert slerp.coefficients([same_delta, other], t=0.3) == pytest.approx(slerp.coefficients([(b, a), other], t=0.3))


def test_slerp_refuses_what_has_no_arc() -> None:
    delta = rank_one([1.0], [1.0])
    with pytest.raises(ParameterError, match=r"^t must be in \[0, 1\], got 1\.5\.$"):
        slerp.coefficients([delta, delta], t=1.5)
    with pytest.raises(ParameterError, match=r"^SLERP blends exactly two adapters, got 3\.$"):
        slerp.coefficients([delta] * 3, t=0.5)


def test_concat_is_the_exact_sum() -> None:
    factors = [random_factors(6, 5, 3, 1), random_factors(6, 5, 2, 2)]
    b, a = concat.merge_factors(factors, weights=[0.7, -1.3])
    assert (b.shape, a.shape) == ((6, 5), (5, 5))
    assert relative_error(b @ a, dense_sum(factors, [0.7, -1.3])) < 1e-6


def test_factor_adds_the_cross_terms_that_its_docstring_names() -> None:
    # w = (4, 1): √w = (2, 1); (2b₁ + b₂)(2a₁ + a₂) = 4 b₁a₁ + b₂a₂ + 2 b₁a₂ + 2 b₂a₁
    (b1, a1), (b2, a2) = random_factors(6, 5, 2, 1), random_factors(6, 5, 2, 2)
    b, a = factor.merge_factors([(b1, a1), (b2, a2)], weights=[4.0, 1.0])
    expected = 4 * b1 @ a1 + b2 @ a2 + 2 * b1 @ a2 + 2 * b2 @ a1
    assert torch.allclose(b @ a, expected, atol=1e-5)


def test_factor_returns_a_single_adapter_even_with_a_negative_weight() -> None:
    b, a = random_factors(6, 5, 2, 1)
    merged_b, merged_a = factor.merge_factors([(b, a)], weights=[-0.5])
    assert torch.allclose(merged_b @ merged_a, -0.5 * b @ a, atol=1e-6)


def test_factor_depends_on_the_gauge() -> None:
    # (2b, a/2) is the same adapter as (b, a), and averaging the factors gives something else
    (b, a), other = random_factors(6, 5, 2, 1), random_factors(6, 5, 2, 2)
    first = factor.merge_factors([(b, a), other], weights=[0.5, 0.5])
    second = factor.merge_factors([(2 * b, a / 2), other], weights=[0.5, 0.5])
    assert relative_error(second[0] @ second[1], first[0] @ first[1]) > 0.1


def test_factor_needs_one_rank() -> None:
    with pytest.raises(IncompatibleError, match=r"^factor averages adapters of one rank, got ranks 2, 3\.$"):
        factor.merge_factors([random_factors(6, 5, 2, 1), random_factors(6, 5, 3, 2)], weights=[0.5, 0.5])

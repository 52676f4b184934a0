"""Weighted sums against mergekit's own, in memory, on dense deltas beside a zero base."""

from collections.abc import Sequence

import pytest
import torch
from mergekit.merge_methods.api import merge_tensors

from merging.methods import karcher, model_stock, multislerp, nuslerp
from merging.numerics.coefficients import Coefficient
from merging.numerics.lowrank import weighted_sum
from tests.merging.lora_files import Factors, random_factors

ROWS, COLUMNS = 12, 9
WEIGHTS = [0.8, 1.5, -0.6]


@pytest.fixture
def factors() -> list[Factors]:
    """Three deltas of ranks 1 to 3 that share a direction, so that no mean of them is close to zero."""
    common = random_factors(ROWS, COLUMNS, 1, 9)
    own = [random_factors(ROWS, COLUMNS, rank, rank) for rank in (1, 2, 3)]
    return [(torch.cat([b, common[0]], 1), torch.cat([a, common[1]])) for b, a in own]


def theirs(method: str, factors: Sequence[Factors], *, with_base: bool = True, **parameters: object) -> torch.Tensor:
    """mergekit's result; the base is zero, so that weights minus base are the deltas."""
    deltas = [b @ a for b, a in factors]
    tensors = [*deltas, torch.zeros(ROWS, COLUMNS)] if with_base else deltas
    return merge_tensors(tensors, method, parameters=parameters, base_index=len(deltas) if with_base else None)


def ours(factors: Sequence[Factors], coefficients: Sequence[Coefficient]) -> torch.Tensor:
    spectrum = weighted_sum(factors, coefficients)
    return (spectrum.left * spectrum.values @ spectrum.right).float()


@pytest.mark.parametrize("with_base", [True, False])
@pytest.mark.parametrize(("flatten", "row_wise"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("weights", [[0.8, 1.5], [1.0, 0.0], [2.0, -0.5]])
def test_nuslerp(factors: list[Factors], flatten: bool, row_wise: bool, with_base: bool, weights: list[float]) -> None:
    switches = {"nuslerp_flatten": flatten, "nuslerp_row_wise": row_wise}
    named = dict(enumerate(weights)) if with_base else weights
    expected = theirs("nuslerp", factors[:2], with_base=with_base, weight=named, **switches)
    found = ours(factors[:2], nuslerp.coefficients(factors[:2], weights=weights, **switches))
    assert torch.allclose(found, expected, atol=1e-5)


def test_nuslerp_of_a_zero_row(factors: list[Factors]) -> None:
    (b, a), other = factors[:2]
    pair = [(b * torch.tensor([0.0, *[1.0] * (ROWS - 1)])[:, None], a), other]
    expected = theirs("nuslerp", pair, weight={0: 1.0, 1: 2.0}, nuslerp_flatten=False)
    found = ours(pair, nuslerp.coefficients(pair, weights=[1.0, 2.0], nuslerp_flatten=False))
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("normalize_weights", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_multislerp(factors: list[Factors], count: int, normalize_weights: bool) -> None:
    some, weights = factors[:count], WEIGHTS[:count]
    named = dict(enumerate(weights))
    expected = theirs("multislerp", some, weight=named, normalize_weights=normalize_weights)
    found = multislerp.coefficients(some, weights=weights, normalize_weights=normalize_weights)
    assert torch.allclose(ours(some, found), expected, atol=1e-5)


def test_multislerp_of_two_opposites(factors: list[Factors]) -> None:
    b, a = factors[0]
    pair = [(b, a), (-2 * b, a)]
    expected = theirs("multislerp", pair, weight={0: 1.0, 1: 1.0})
    assert torch.allclose(ours(pair, multislerp.coefficients(pair, weights=[1.0, 1.0])), expected, atol=1e-5)


@pytest.mark.parametrize("max_iter", [1, 10])
def test_karcher_of_deltas(factors: list[Factors], max_iter: int) -> None:
    missing = torch.zeros(ROWS, 0), torch.zeros(0, COLUMNS)
    for some in (factors[:1], factors, [*factors, missing]):
        expected = theirs("karcher", some, with_base=False, max_iter=max_iter)
        assert torch.allclose(ours(some, karcher.coefficients(some, max_iter=max_iter)), expected, atol=2e-5)


@pytest.mark.parametrize("filter_wise", [True, False])
@pytest.mark.parametrize("count", [2, 3])
def test_model_stock(factors: list[Factors], count: int, filter_wise: bool) -> None:
    expected = theirs("model_stock", factors[:count], filter_wise=filter_wise)
    found = model_stock.coefficients(factors[:count], filter_wise=filter_wise)
    assert torch.allclose(ours(factors[:count], found), expected, atol=1e-5)

"""Means of directions: Multi-SLERP, the Karcher mean and Model Stock, from inner products alone."""

import math
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medley.errors import ParameterError
from merging import merge, recipe_from_weights
from merging.methods import karcher, model_stock, multislerp
from merging.numerics.coefficients import PerRow
from merging.numerics.lowrank import weighted_sum
from tests.merging.lora_files import BASE, Factors, dense_deltas, random_factors, random_lora

EAST = torch.tensor([[3.0]]), torch.tensor([[1.0, 0.0]])  # (3, 0)
NORTH = torch.tensor([[4.0]]), torch.tensor([[0.0, 1.0]])  # (0, 4)
STEEP = torch.tensor([[1.0]]), torch.tensor([[1.0, math.sqrt(3)]])  # (1, √3), 60° above (1, 0)
MISSING = torch.zeros(1, 0), torch.zeros(0, 2)


def minus(delta: Factors) -> Factors:
    return -delta[0], delta[1]


def lifted(factors: list[Factors], coefficients: list) -> torch.Tensor:
    spectrum = weighted_sum(factors, coefficients)
    return spectrum.left * spectrum.values @ spectrum.right


def test_multislerp_of_a_right_angle_by_hand() -> None:
    # shares 1/2: mean size 3.5, mean direction (½, ½)/0.7071 = (0.7071, 0.7071): 3.5·0.7071 = 2.4749 each
    assert lifted([EAST, NORTH], multislerp.coefficients([EAST, NORTH], weights=[1.0, 1.0])).tolist() == [
        pytest.approx([2.474874, 2.474874], abs=1e-6)
    ]


def test_multislerp_counts_a_missing_delta_in_the_size_but_not_in_the_direction() -> None:
    # shares 1/2: mean size 1.5, direction (1, 0)
    found = multislerp.coefficients([EAST, MISSING], weights=[1.0, 1.0])
    assert lifted([EAST, MISSING], found).tolist() == [pytest.approx([1.5, 0.0], abs=1e-7)]
    assert multislerp.coefficients([MISSING, MISSING], weights=[1.0, 1.0]) == [0.0, 0.0]
    # what is left without those of weight 0 is a zero delta, which is no mean of directions that cancel
    assert multislerp.coefficients([EAST, NORTH, MISSING], weights=[0.0, 0.0, 1.0]) == [0.0, 0.0, 0.0]


def test_multislerp_without_division_scales_with_the_weights() -> None:
    # weights 2 and 2: size 2·3 + 2·4 = 14, direction as before
    found = multislerp.coefficients([EAST, NORTH], weights=[2.0, 2.0], normalize_weights=False)
    assert lifted([EAST, NORTH], found).tolist() == [pytest.approx([14 * math.sqrt(0.5)] * 2, abs=1e-6)]
    assert multislerp.coefficients([EAST], weights=[7.0]) == [1.0]  # as in mergekit


def test_multislerp_where_directions_cancel() -> None:
    # two are added plainly: ½·3 − ½·4 = −½; three have no mean
    far_west = torch.tensor([[4.0]]), torch.tensor([[-1.0, 0.0]])
    found = multislerp.coefficients([EAST, far_west], weights=[1.0, 1.0])
    assert lifted([EAST, far_west], found).tolist() == [pytest.approx([-0.5, 0.0])]
    with pytest.raises(ParameterError) as caught:
        multislerp.coefficients([EAST, far_west, MISSING], weights=[1.0, 1.0, 1.0])
    assert str(caught.value) == (
        "The directions of the adapters cancel in a module, so they have no mean there. "
        "Change the weights, or use linear."
    )
    with pytest.raises(ParameterError, match=r"set normalize_weights: false\.$"):
        multislerp.coefficients([EAST, NORTH], weights=[1.0, -1.0])


def test_the_karcher_mean_of_two_is_halfway() -> None:
    # 0° and 60°: 30°, size (3 + 2)/2 = 2.5: (2.5·cos 30°, 2.5·sin 30°)
    found = lifted([EAST, STEEP], karcher.coefficients([EAST, STEEP]))
    assert found.tolist() == [pytest.approx([2.5 * math.sqrt(3) / 2, 1.25], abs=1e-6)]


def test_the_karcher_mean_of_angles_is_their_mean() -> None:
    # 0°, 0° and 90° on a circle: 30°, not the 26.57° of the mean vector (2, 1); size (3 + 3 + 4)/3
    found = lifted([EAST, EAST, NORTH], karcher.coefficients([EAST, EAST, NORTH], max_iter=50, tol=1e-9))
    size = 10 / 3
    assert found.tolist() == [pytest.approx([size * math.cos(math.pi / 6), size / 2], abs=1e-6)]


def test_one_step_of_karcher_by_hand() -> None:
    # the mean vector (2, 1) stands at 26.565°; one step goes by the mean of (−26.565, −26.565, 63.435) = 3.435° to 30°
    one = lifted([EAST, EAST, NORTH], karcher.coefficients([EAST, EAST, NORTH], max_iter=1))
    assert math.degrees(math.atan2(float(one[0, 1]), float(one[0, 0]))) == pytest.approx(30.0, abs=1e-5)


def test_a_missing_delta_only_makes_the_karcher_mean_smaller() -> None:
    assert karcher.coefficients([EAST, MISSING]) == pytest.approx([0.5, 0.0])
    assert karcher.coefficients([MISSING, MISSING]) == [0.0, 0.0]


def test_a_short_delta_has_a_direction_in_the_karcher_mean() -> None:
    # 1e-6 is below the default tol of 1e-5, which is an angle and says nothing about lengths
    short = [(1e-6 * b, a) for b, a in (EAST, EAST)]
    assert karcher.coefficients(short[:1]) == pytest.approx([1.0])
    assert karcher.coefficients(short) == pytest.approx([0.5, 0.5])


def test_methods_without_weights_refuse_them(tmp_path: Path) -> None:
    models = [(random_lora(tmp_path / name, seed=1), 0.5) for name in "ab"]
    for method in ("karcher", "model_stock"):
        with pytest.raises(ParameterError) as caught:
            recipe_from_weights(method, models)
        assert str(caught.value) == f"{method} finds its weights itself. Leave the weights out."


def test_a_listed_base_model_is_one_more_input_of_karcher_and_none_of_multislerp(tmp_path: Path) -> None:
    """As in mergekit: Karcher's mean size falls to a half, while Multi-SLERP measures from the base."""
    folder = random_lora(tmp_path / "a", seed=1)
    models = [{"model": str(folder), "parameters": {"weight": 2}}, {"model": BASE, "parameters": {"weight": 3}}]
    merge({"merge_method": "multislerp", "base_model": BASE, "models": models}, tmp_path / "multislerp")
    bare = [{"model": each["model"]} for each in models]
    merge({"merge_method": "karcher", "base_model": BASE, "models": bare}, tmp_path / "karcher")
    for name, delta in dense_deltas(folder).items():
        assert torch.allclose(dense_deltas(tmp_path / "multislerp")[name], delta, atol=1e-6)
        assert torch.allclose(dense_deltas(tmp_path / "karcher")[name], delta / 2, atol=1e-6)


def test_opposite_directions_have_no_karcher_mean() -> None:
    with pytest.raises(ParameterError) as caught:
        karcher.coefficients([EAST, minus(EAST)])
    assert str(caught.value) == (
        "The directions of the adapters cancel in a module, so they have no Karcher mean there. Use linear, or leave "
        "one of them out."
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=5), st.integers(0, 9999))
def test_at_the_karcher_mean_the_pulls_cancel(ranks: list[int], seed: int) -> None:
    """Its definition (no direction is better), on dense deltas: Σ (θᵢ/sin θᵢ)·(uᵢ − cos θᵢ·u) = 0."""
    factors = [random_factors(6, 5, rank, seed + index) for index, rank in enumerate(ranks)]
    mean = lifted(factors, karcher.coefficients(factors, max_iter=300, tol=1e-12)).flatten()
    deltas = [(b.double() @ a.double()).flatten() for b, a in factors]
    assert float(mean.norm()) == pytest.approx(sum(float(each.norm()) for each in deltas) / len(deltas), rel=1e-6)
    direction, pull = mean / mean.norm(), torch.zeros(30, dtype=torch.float64)
    for each in (delta / delta.norm() for delta in deltas):
        angle = torch.acos((each @ direction).clamp(-1, 1))
        pull += angle / torch.sin(angle) * (each - torch.cos(angle) * direction) / len(deltas)
    assert float(pull.norm()) < 1e-5


def test_model_stock_of_a_right_angle_is_the_base() -> None:
    assert model_stock.coefficients([EAST, NORTH]) == pytest.approx([0.0, 0.0])


def test_model_stock_at_sixty_degrees_by_hand() -> None:
    # c = ½: t = 2·½ / (1 + ½) = ⅔, so ⅓ of each
    assert model_stock.coefficients([EAST, STEEP]) == pytest.approx([1 / 3, 1 / 3])


def test_model_stock_of_three_takes_the_mean_cosine() -> None:
    # cosines ½ (east, steep), 0 (east, north), √¾ (steep, north): c = 0.455342; t/3 = c / (1 + 2c) = 0.238314
    assert model_stock.coefficients([EAST, STEEP, NORTH]) == pytest.approx([0.238314] * 3, abs=1e-6)


def test_model_stock_per_row_by_hand() -> None:
    # row 0 the same: c = 1, t/2 = ½; row 1 at 60°: ⅓; row 2 opposite: 1 + c = 0, nothing; row 3 zero in one: c = 0
    rows = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    others = [[2.0, 0.0], [1.0, math.sqrt(3)], [-1.0, 0.0], [1.0, 0.0]]
    pair = [(torch.tensor(each), torch.eye(2)) for each in (rows, others)]
    for each in model_stock.coefficients(pair, filter_wise=True):
        assert isinstance(each, PerRow)
        assert each.values.tolist() == pytest.approx([1 / 2, 1 / 3, 0.0, 0.0], abs=1e-6)


def test_model_stock_of_opposites_stays_at_the_base() -> None:
    assert model_stock.coefficients([EAST, minus(EAST)]) == [0.0, 0.0]  # 1 + c = 0 has no ratio
    with pytest.raises(ParameterError) as caught:
        model_stock.coefficients([EAST])
    assert str(caught.value) == "Model Stock compares adapters with each other and needs at least 2, got 1."


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=4).filter(any), st.integers(0, 9999), st.booleans())
def test_model_stock_is_the_dense_rule(ranks: list[int], seed: int, filter_wise: bool) -> None:
    factors = [random_factors(6, 5, rank, seed + index) for index, rank in enumerate(ranks)]
    deltas = [b.double() @ a.double() for b, a in factors]
    vectors = deltas if filter_wise else [each.reshape(1, -1) for each in deltas]
    pairs = [torch.cosine_similarity(x, y, dim=1) for x, y in combinations(vectors, 2)]
    cosine, count = torch.stack(pairs).mean(0)[:, None], len(ranks)
    share = count * cosine / (1 + (count - 1) * cosine)
    dense = share * sum(deltas) / count
    found = lifted(factors, model_stock.coefficients(factors, filter_wise=filter_wise))
    assert float((found - dense).norm()) < 1e-6 * (1 + float(dense.norm()) + float(share.abs().max()))

"""NuSLERP: weights instead of t, and angles per row or column that scale one side of the factors only."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medley.errors import ParameterError
from merging import merge, preflight, recipe_from_weights
from merging.methods import nuslerp, slerp
from merging.numerics.coefficients import PerColumn, PerRow
from merging.numerics.lowrank import weighted_sum
from tests.merging.lora_files import Factors, dense_deltas, random_factors, random_lora, relative_error

WAYS = [(True, False), (False, False), (False, True)]  # flatten, row_wise


def full_rank(matrix: list[list[float]]) -> Factors:
    return torch.tensor(matrix), torch.eye(len(matrix[0]))


def dense_arc(first: torch.Tensor, second: torch.Tensor, t: float, dimension: int | None) -> torch.Tensor:
    """SLERP of vectors along a dimension (None: of the flat matrices), written out; zero vectors at a right angle."""
    if dimension is None:
        return dense_arc(first.reshape(1, -1), second.reshape(1, -1), t, 1).reshape(first.shape)
    sizes = first.norm(dim=dimension, keepdim=True) * second.norm(dim=dimension, keepdim=True)
    cosine = ((first * second).sum(dimension, keepdim=True) / torch.where(sizes == 0, 1.0, sizes)).clamp(-1, 1)
    angle = torch.acos(cosine)
    along = (torch.sin((1 - t) * angle) * first + torch.sin(t * angle) * second) / torch.sin(angle)
    return torch.where(1 - cosine.square() <= 1e-7, (1 - t) * first + t * second, along)


def test_one_angle_per_row_by_hand() -> None:
    # row 0: (1, 0) and (0, 1) at 90°: both sin 45° = 0.7071; row 1: (1, 0) and (2, 0) on a line: both 1/2
    # row 2: (0, 0) has no direction, so 90°: both 0.7071
    first, second = full_rank([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), full_rank([[0.0, 1.0], [2.0, 0.0], [3.0, 0.0]])
    found = nuslerp.coefficients([first, second], weights=[1.0, 1.0], nuslerp_flatten=False)
    root = math.sqrt(0.5)
    for each in found:
        assert isinstance(each, PerRow)
        assert each.values.tolist() == pytest.approx([root, 0.5, root])


def test_one_angle_per_column_by_hand() -> None:
    # column 0: (1, 1) and (2, 2) on a line: t = 1/4 gives 3/4 and 1/4
    # column 1: (1, 0) and (0, 1) at 90°: sin 67.5° = 0.92388 and sin 22.5° = 0.382683
    first, second = full_rank([[1.0, 1.0], [1.0, 0.0]]), full_rank([[2.0, 0.0], [2.0, 1.0]])
    start, end = nuslerp.coefficients([first, second], weights=[3.0, 1.0], nuslerp_flatten=False, nuslerp_row_wise=True)
    assert isinstance(start, PerColumn)
    assert start.values.tolist() == pytest.approx([0.75, 0.92388], abs=1e-6)
    assert end.values.tolist() == pytest.approx([0.25, 0.382683], abs=1e-6)


def test_flat_it_is_slerp_at_the_second_weights_share() -> None:
    pair = [random_factors(6, 5, 3, 1), random_factors(6, 5, 2, 2)]
    found = nuslerp.coefficients(pair, weights=[3.0, 1.0])
    assert found == pytest.approx(slerp.coefficients(pair, t=0.25))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 7), st.integers(1, 7), st.integers(0, 3), st.integers(1, 3), st.integers(0, 9999),
    st.floats(-0.5, 1.5), st.sampled_from(WAYS),
)  # fmt: skip
def test_the_factors_give_the_dense_result(
    rows: int, columns: int, rank: int, other_rank: int, seed: int, t: float, way: tuple[bool, bool]
) -> None:
    pair = [random_factors(rows, columns, rank, seed), random_factors(rows, columns, other_rank, seed + 1)]
    dimension = None if way[0] else 0 if way[1] else 1
    dense = dense_arc(*(b.double() @ a.double() for b, a in pair), t, dimension)
    found = nuslerp.coefficients(pair, weights=[1 - t, t], nuslerp_flatten=way[0], nuslerp_row_wise=way[1])
    spectrum = weighted_sum(pair, found)
    size = 1e-3 + float(dense.norm())
    assert float((spectrum.left * spectrum.values @ spectrum.right - dense).norm()) < 1e-6 * size
    assert spectrum.rank <= rank + other_rank


@pytest.mark.parametrize(("flatten", "row_wise"), WAYS)
def test_two_adapters_can_be_exchanged_with_their_weights_and_weight_zero_drops_one(
    tmp_path: Path, flatten: bool, row_wise: bool
) -> None:
    first, second = random_lora(tmp_path / "a", seed=1), random_lora(tmp_path / "b", seed=2, rank=3)
    parameters = {"nuslerp_flatten": flatten, "nuslerp_row_wise": row_wise}
    results = []
    for index, models in enumerate(([(first, 0.3), (second, 0.9)], [(second, 0.9), (first, 0.3)])):
        merge(recipe_from_weights("nuslerp", models, parameters), tmp_path / f"{index}")
        results.append(dense_deltas(tmp_path / f"{index}"))
    merge(recipe_from_weights("nuslerp", [(first, 0.8), (second, 0.0)], parameters), tmp_path / "one")
    for name, delta in dense_deltas(first).items():
        assert relative_error(results[1][name], results[0][name]) < 1e-6
        assert relative_error(dense_deltas(tmp_path / "one")[name], delta) < 1e-6


@pytest.mark.parametrize(("flatten", "row_wise"), WAYS)
def test_opposite_deltas_lie_on_a_line(flatten: bool, row_wise: bool) -> None:
    b, a = random_factors(6, 5, 3, 1)
    found = nuslerp.coefficients(
        [(b, a), (-b, a)], weights=[3.0, 1.0], nuslerp_flatten=flatten, nuslerp_row_wise=row_wise
    )
    spectrum = weighted_sum([(b, a), (-b, a)], found)
    assert torch.allclose(spectrum.left * spectrum.values @ spectrum.right, 0.5 * b.double() @ a.double(), atol=1e-6)


def test_what_has_no_arc_is_refused() -> None:
    delta = random_factors(3, 3, 1, 1)
    with pytest.raises(ParameterError, match=r"^NuSLERP blends exactly two adapters, got 3\.$"):
        nuslerp.coefficients([delta] * 3, weights=[1.0] * 3)
    with pytest.raises(
        ParameterError, match=r"^The weights sum to 0 and nuslerp divides by their sum\. Change a weight\.$"
    ):
        nuslerp.coefficients([delta] * 2, weights=[1.0, -1.0])


def test_weights_that_sum_to_zero_are_found_before_any_weights_are_read(tmp_path: Path) -> None:
    models = [(random_lora(tmp_path / "a", seed=1), 1.0), (random_lora(tmp_path / "b", seed=2), -1.0)]
    found = preflight(recipe_from_weights("nuslerp", models))
    assert found.problems == ("The weights sum to 0 and nuslerp divides by their sum. Change a weight.",)
    found = preflight(recipe_from_weights("multislerp", models))
    assert found.problems == (
        "The weights sum to 0 and multislerp divides by their sum. Change a weight or set normalize_weights: false.",
    )
    assert not preflight(recipe_from_weights("multislerp", models, {"normalize_weights": False})).problems

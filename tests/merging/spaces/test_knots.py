"""KnOTS: rules on S·Vᵢᵀ, the adapters' parts of one decomposition of all of them side by side."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merging import merge, recipe_from_weights
from merging.methods import ties
from merging.spaces.knots import knots_space
from tests.merging.lora_files import Factors, dense_deltas, random_factors, random_lora, relative_error


def full_rank(matrix: list[list[float]]) -> Factors:
    return torch.tensor(matrix), torch.eye(len(matrix[0]))


def test_rows_at_right_angles_are_the_axes_by_hand() -> None:
    # rows (3, 1 | -1, 3) and (0, 0 | 0.3, 0.1): -0.3 + 0.3 = 0, lengths √20 and √0.1, so U is the identity
    first, second = [[3.0, 1.0], [0.0, 0.0]], [[-1.0, 3.0], [0.3, 0.1]]
    space = knots_space([full_rank(first), full_rank(second)])
    stacked = space.deltas
    assert torch.allclose(stacked, torch.tensor([first, second]).double(), atol=1e-6)
    # TIES at density ½ keeps 3, 1 and -1, 3; totals 2, 4: the first entry follows the first, the second is (1 + 3)/2
    merged = space.lift(ties.merge(stacked.float(), weights=[1.0, 1.0], density=[0.5, 0.5]))
    dense = merged.left * merged.values @ merged.right
    assert torch.allclose(dense, torch.tensor([[3.0, 2.0], [0.0, 0.0]]).double(), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 9), st.integers(2, 9), st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(any),
    st.integers(0, 9999),
)  # fmt: skip
def test_the_parts_are_those_of_the_dense_decomposition(rows: int, columns: int, ranks: list[int], seed: int) -> None:
    factors = [random_factors(rows, columns, rank, seed + index) for index, rank in enumerate(ranks)]
    dense = [b.double() @ a.double() for b, a in factors]
    space = knots_space(factors)
    _, values, right = torch.linalg.svd(torch.cat(dense, dim=1), full_matrices=False)
    count = space.rows.shape[1]
    parts = (values[:, None] * right)[:count].split(columns, dim=1)
    assert float(values[count:].norm()) < 1e-6 * float(values[0])
    for delta, part, own in zip(space.deltas, parts, dense, strict=True):
        assert torch.allclose(delta.abs(), part.abs(), atol=1e-5 * float(values[0]))  # up to the signs of the axes
        lifted = space.lift(delta)
        assert float((lifted.left * lifted.values @ lifted.right - own).norm()) <= 1e-6 * (1 + float(own.norm()))


@pytest.mark.parametrize("density", [0.3, 1.0])
def test_knots_ties_is_the_rule_of_the_paper_on_dense_deltas(tmp_path: Path, density: float) -> None:
    folders = [random_lora(tmp_path / f"{seed}", seed=seed, lora_alpha=3 * seed) for seed in (1, 2)]
    weights = [1.0, -0.4]
    recipe = recipe_from_weights("ties", list(zip(folders, weights, strict=True)), {"density": density}, space="knots")
    report = merge(recipe, tmp_path / "out")
    inputs, found = [dense_deltas(folder) for folder in folders], dense_deltas(tmp_path / "out")
    for name, written in found.items():
        deltas = [each[name] for each in inputs]
        left, values, right = torch.linalg.svd(torch.cat(deltas, dim=1), full_matrices=False)
        left, parts = left[:, :4], (values[:, None] * right)[:4].split(deltas[0].shape[1], dim=1)
        rule = ties.merge(torch.stack(parts).float(), weights=weights, density=[density] * 2)
        assert relative_error(written, left @ rule.double()) < 1e-5
        assert report.modules[name].rank <= 4
    assert report.space == "knots"

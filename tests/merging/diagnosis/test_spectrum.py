from pathlib import Path
from typing import Any

import pytest
import torch

from merging import METHODS, energy_by_rank, merge, recipe_from_weights, similarity
from tests.merging.lora_files import SHAPES, dense_deltas, random_factors, random_lora, write_lora
from tests.merging.promises import CASES, name_of, thinned, weights_for


def test_cosines_are_those_of_the_flattened_deltas(tmp_path: Path) -> None:
    folders = [random_lora(tmp_path / f"{seed}", seed=seed, rank=seed, lora_alpha=3) for seed in (1, 2)]
    partial = write_lora(tmp_path / "partial", {next(iter(SHAPES)): random_factors(6, 5, 2, 9)})
    zero = write_lora(tmp_path / "zero", {next(iter(SHAPES)): (torch.zeros(6, 1), torch.zeros(1, 5))})
    folders += [partial, zero]
    flat = []
    for folder in folders:
        deltas = dense_deltas(folder)
        flat.append(torch.cat([deltas.get(name, torch.zeros(shape)).flatten() for name, shape in SHAPES.items()]))
    matrix = similarity(folders)
    for i in range(3):
        for j in range(3):
            expected = float(torch.nn.functional.cosine_similarity(flat[i], flat[j], dim=0))
            assert matrix[i][j] == pytest.approx(expected, abs=1e-6)
    assert matrix[3] == [0.0, 0.0, 0.0, 1.0]


def test_opposite_adapters_are_at_minus_one(tmp_path: Path) -> None:
    name = next(iter(SHAPES))
    b, a = random_factors(6, 5, 2, 1)
    folders = [write_lora(tmp_path / "a", {name: (b, a)}), write_lora(tmp_path / "b", {name: (-2 * b, a)})]
    assert similarity(folders)[0] == pytest.approx([1.0, -1.0])


@pytest.mark.parametrize(("method", "keys"), CASES, ids=list(map(name_of, CASES)))
def test_the_curve_is_what_the_merge_then_keeps(tmp_path: Path, method: str, keys: dict[str, Any]) -> None:
    folders = [random_lora(tmp_path / f"{seed}", seed=seed) for seed in (1, 2)]
    models = list(zip(folders, weights_for(method, [0.5, 0.5]), strict=True))
    keys = thinned(method, keys, 0.5)
    curve = energy_by_rank(recipe_from_weights(method, models, **keys))
    assert curve == sorted(curve)
    assert curve[-1] == pytest.approx(1.0)
    if METHODS[method].family not in ("concat", "factor") and keys.get("space") not in ("delta", "compressed"):
        report = merge(recipe_from_weights(method, models, **keys, rank=2), tmp_path / "out")
        assert report.energy_kept == pytest.approx(curve[1], rel=1e-6)
        assert report.error == pytest.approx((1 - curve[1]) ** 0.5, rel=1e-3, abs=1e-6)


def test_the_curve_of_factor_is_that_of_what_it_makes(tmp_path: Path) -> None:
    """Not of the sum that it stands for, which its cross terms are as large as."""
    models = [(random_lora(tmp_path / f"{seed}", seed=seed, lora_alpha=3), 0.5) for seed in (1, 2)]
    recipe = recipe_from_weights("factor", models)
    merge(recipe, tmp_path / "out")
    squares = torch.zeros(4, dtype=torch.float64)
    for delta in dense_deltas(tmp_path / "out").values():
        squares += torch.linalg.svdvals(delta).square()[:4]
    assert energy_by_rank(recipe) == pytest.approx((squares.cumsum(0) / squares.sum())[:2].tolist(), rel=1e-6)


def test_the_curve_of_nothing_is_empty(tmp_path: Path) -> None:
    folders = [random_lora(tmp_path / name, seed=1) for name in "ab"]
    assert energy_by_rank(recipe_from_weights("task_arithmetic", [(folders[0], 1.0), (folders[1], -1.0)])) == []

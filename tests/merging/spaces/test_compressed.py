"""Compress-then-Merge: how good the shared axes are, and what the report says was lost."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merging import merge, preflight, recipe_from_weights
from merging.spaces.compressed import compressed_space, energy_held
from merging.spaces.core import core_space
from tests.merging.lora_files import (
    SHAPES,
    Factors,
    dense_deltas,
    random_factors,
    random_lora,
    relative_error,
    write_lora,
)

FIRST, _ = SHAPES


def axis(index: int, size: float) -> Factors:
    """size · eᵢeᵢᵀ, 6 x 5."""
    return size * torch.eye(6)[:, index : index + 1], torch.eye(5)[index : index + 1]


def test_one_axis_takes_the_stronger_adapter_by_hand(tmp_path: Path) -> None:
    # 3·e₁e₁ᵀ and 2·e₂e₂ᵀ: one axis holds 9 of 13; half of each is 1.5 of (1.5, 1), so the error is 1/√3.25
    east, north = (write_lora(tmp_path / name, {FIRST: axis(index, size)})
                   for name, index, size in (("east", 0, 3.0), ("north", 1, 2.0)))  # fmt: skip
    report = merge(
        recipe_from_weights("linear", [(east, 0.5), (north, 0.5)], space="compressed", rank=1), tmp_path / "out"
    )
    wanted = torch.zeros(6, 5).double()
    wanted[0, 0] = 1.5
    assert torch.allclose(dense_deltas(tmp_path / "out")[FIRST], wanted, atol=1e-6)
    module = report.modules[FIRST]
    assert (module.rank, module.energy_kept) == (1, pytest.approx(9 / 13))
    assert (module.error, module.norm) == (pytest.approx(1 / math.sqrt(3.25)), pytest.approx(math.sqrt(3.25)))
    assert report.space == "compressed"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 9999))
def test_the_axes_are_the_best_of_each_side_given_the_other(ranks: list[int], rank: int, seed: int) -> None:
    """They hold at least as much as the truncated core, and neither side alone can be improved."""
    factors = [random_factors(9, 8, each, seed + index) for index, each in enumerate(ranks)]
    dense = [b.double() @ a.double() for b, a in factors]
    total = sum(float(delta.square().sum()) for delta in dense)
    space, core = compressed_space(factors, rank), core_space(factors)
    held = sum(float((space.rows.T @ delta @ space.columns).square().sum()) for delta in dense) / total
    assert energy_held(space, factors) == pytest.approx(held)
    assert max(space.rows.shape[1], space.columns.shape[1]) <= rank
    cut = core.deltas[:, :rank, :rank]
    assert held >= float(cut.square().sum()) / total - 1e-9
    best_rows = torch.linalg.svdvals(torch.cat([delta @ space.columns for delta in dense], dim=1))[:rank]
    best_columns = torch.linalg.svdvals(torch.cat([space.rows.T @ delta for delta in dense]))[:rank]
    for best in (best_rows, best_columns):
        assert float(best.square().sum()) / total == pytest.approx(held, abs=1e-3)


def test_one_adapter_is_cut_as_well_as_can_be(tmp_path: Path) -> None:
    folder = random_lora(tmp_path / "a", seed=1, rank=4)
    report = merge(recipe_from_weights("linear", [(folder, 1.0)], space="compressed", rank=2), tmp_path / "out")
    for name, delta in dense_deltas(folder).items():
        values = torch.linalg.svdvals(delta)
        best = float(values[2:].norm() / values.norm())
        assert relative_error(dense_deltas(tmp_path / "out")[name], delta) == pytest.approx(best, rel=1e-5)
        assert report.modules[name].error == pytest.approx(best, rel=1e-5)
        assert report.modules[name].energy_kept == pytest.approx(1 - best**2, rel=1e-6)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties"])
def test_with_room_for_all_nothing_is_lost(tmp_path: Path, method: str) -> None:
    models = [(random_lora(tmp_path / f"{seed}", seed=seed), 0.7 * seed) for seed in (1, 2)]
    report = merge(recipe_from_weights(method, models, space="compressed", rank=4), tmp_path / "compressed")
    merge(recipe_from_weights(method, models), tmp_path / "whole")
    for name, delta in dense_deltas(tmp_path / "whole").items():
        assert relative_error(dense_deltas(tmp_path / "compressed")[name], delta) < 1e-6
        assert report.modules[name].energy_kept == pytest.approx(1.0)
        assert report.modules[name].error < 1e-6


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_the_report_is_against_the_adapters_as_they_were(tmp_path: Path, method: str) -> None:
    folders = [random_lora(tmp_path / f"{seed}", seed=seed, rank=seed, lora_alpha=3) for seed in (1, 2, 3)]
    weights = [1.0, -0.5, 2.0]
    recipe = recipe_from_weights(method, list(zip(folders, weights, strict=True)), space="compressed", rank=2)
    report = merge(recipe, tmp_path / "out")
    inputs, found = [dense_deltas(folder) for folder in folders], dense_deltas(tmp_path / "out")
    for name, written in found.items():
        module = report.modules[name]
        assert module.rank == 2
        assert 0.3 < module.energy_kept < 0.999
        if method == "task_arithmetic":
            exact = sum(weight * each[name] for weight, each in zip(weights, inputs, strict=True))
            assert module.error == pytest.approx(relative_error(written, exact), rel=1e-5)
            assert module.norm == pytest.approx(float(exact.norm()), rel=1e-6)
        else:
            assert module.error < 1e-6
    note = "Energy kept is what the compressed space holds of the adapters; error does not count the rest."
    assert report.warnings == ((note,) if method == "ties" else ())


def test_what_cancels_is_zero_when_compressed_too(tmp_path: Path) -> None:
    models = [(random_lora(tmp_path / name, seed=1), weight) for name, weight in (("a", 1.0), ("b", -1.0))]
    report = merge(recipe_from_weights("task_arithmetic", models, space="compressed", rank=1), tmp_path / "out")
    assert all(not delta.any() for delta in dense_deltas(tmp_path / "out").values())
    assert (report.error, report.max_rank) == (0.0, 0)


def test_preflight_knows_the_rank(tmp_path: Path) -> None:
    models = [(random_lora(tmp_path / f"{seed}", seed=seed), 1.0) for seed in (1, 2)]
    found = preflight(recipe_from_weights("ties", models, space="compressed", rank=3))
    assert set(found.rank_plan.values()) == {3}
    assert found.recipe.to_mapping()["space"] == "compressed"

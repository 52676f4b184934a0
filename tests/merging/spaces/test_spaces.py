"""Elementwise rules on whole adapters: what the two spaces share, and what the runner adds to the rule."""

from pathlib import Path

import pytest
import torch

from merging import merge, recipe_from_weights
from merging.methods import ties
from tests.merging.lora_files import SHAPES, dense_deltas, random_factors, random_lora, relative_error, write_lora

FIRST, SECOND = SHAPES


def run(out: Path, method: str, models: list[tuple[Path, float]], density: float = 1.0, **keys: object) -> Path:
    parameters = {"density": density} if method.startswith(("ties", "dare")) else None
    merge(recipe_from_weights(method, models, parameters, **keys), out)
    return out


@pytest.mark.parametrize("space", ["core", "delta", "knots"])
def test_with_nothing_dropped_dare_is_task_arithmetic_in_any_space(tmp_path: Path, space: str) -> None:
    models = [(random_lora(tmp_path / f"{seed}", seed=seed), 0.3 * seed) for seed in (1, 2)]
    exact = dense_deltas(run(tmp_path / "exact", "task_arithmetic", models))
    found = dense_deltas(run(tmp_path / "found", "dare_linear", models, space=space))
    assert all(relative_error(found[name], exact[name]) < 1e-6 for name in SHAPES)


@pytest.mark.parametrize("variant", ["mergekit", "paper"])
def test_ties_in_delta_space_is_the_rule_on_dense_deltas(tmp_path: Path, variant: str) -> None:
    folders = [random_lora(tmp_path / f"{seed}", seed=seed, lora_alpha=3 * seed) for seed in (1, 2)]
    out = run(tmp_path / "out", "ties", [(f, 1.0) for f in folders], 0.4, space="delta", rank=5, variant=variant)
    inputs = [dense_deltas(folder) for folder in folders]
    for name, written in dense_deltas(out).items():
        deltas = torch.stack([each[name].float() for each in inputs])
        if variant == "mergekit":
            expected = ties.merge(deltas, weights=[1.0, 1.0], density=[0.4, 0.4])
        else:  # the edge of each adapter: the ⌊0.4 · 58⌋ = 23rd largest of its 30 + 28 entries
            entries = [torch.cat([delta.abs().flatten() for delta in each.values()]).float() for each in inputs]
            edges = [float(each.sort(descending=True).values[22]) for each in entries]
            kept = [delta * (delta.abs() >= edge * (1 - 1e-6)) for delta, edge in zip(deltas, edges, strict=True)]
            expected = ties.agreeing_sum_paper(torch.stack(kept), [1.0, 1.0], normalize=True)
        values = torch.linalg.svdvals(expected.double())
        assert relative_error(written, expected) == pytest.approx(float(values[5:].norm() / values.norm()), abs=1e-5)


@pytest.mark.parametrize("space", ["core", "delta"])
def test_random_masks_follow_the_delta_and_not_its_file(tmp_path: Path, space: str) -> None:
    """(2ᵏ·B, 2⁻ᵏ·A) is the same adapter in another file, whose digest comes before or after the other adapter's."""
    other = random_lora(tmp_path / "other", seed=2)
    results = []
    for power in range(6):
        modules = {}
        for index, (name, shape) in enumerate(SHAPES.items()):
            b, a = random_factors(*shape, 2, 100 + index)
            modules[name] = (b * 2.0**power, a / 2.0**power)
        folder = write_lora(tmp_path / f"{power}", modules)
        out = run(tmp_path / f"out-{power}", "dare_ties", [(folder, 1.0), (other, 0.8)], 0.5, space=space, rank=4)
        results.append(dense_deltas(out))
    for each in results[1:]:
        assert all(relative_error(each[name], results[0][name]) < 1e-5 for name in SHAPES)


def test_every_module_draws_its_own_random_numbers(tmp_path: Path) -> None:
    factors = random_factors(8, 8, 3, 1)
    folder = write_lora(tmp_path / "a", {"layers.0.proj": factors, "layers.1.proj": factors})
    deltas = dense_deltas(run(tmp_path / "out", "dare_linear", [(folder, 1.0)], 0.5, space="delta", rank=8))
    assert relative_error(deltas["layers.1.proj"], deltas["layers.0.proj"]) > 0.1


def test_the_draw_of_a_module_does_not_depend_on_the_others(tmp_path: Path) -> None:
    factors = random_factors(8, 8, 3, 1)
    one = write_lora(tmp_path / "one", {"layers.1.proj": factors})
    two = write_lora(tmp_path / "two", {"layers.0.proj": random_factors(8, 8, 3, 2), "layers.1.proj": factors})
    found = [
        dense_deltas(run(tmp_path / f"out-{folder.name}", "dare_linear", [(folder, 1.0)], 0.5, space="delta"))
        for folder in (one, two)
    ]
    assert torch.equal(found[0]["layers.1.proj"], found[1]["layers.1.proj"])


def test_equal_singular_values_are_said(tmp_path: Path) -> None:
    basis = torch.eye(6)
    east, north = (write_lora(tmp_path / name, {FIRST: (basis[:, i : i + 1], basis[i : i + 1, :5])})
                   for i, name in enumerate(("east", "north")))  # fmt: skip
    report = merge(recipe_from_weights("ties", [(east, 1.0), (north, 1.0)]), tmp_path / "out")
    assert report.warnings == (
        "In 1 of 1 modules singular values are equal, so some axes of space core are a convention; another "
        "convention would give another result there. Use space: delta to avoid it.",
    )


def test_energy_in_delta_space_takes_as_many_as_needed(tmp_path: Path) -> None:
    models = [(write_lora(tmp_path / f"{s}", {FIRST: random_factors(60, 50, 2, s)}), 1.0) for s in (1, 2)]
    ranks = []
    for share in (0.5, 0.9, 0.99):
        recipe = recipe_from_weights("ties", models, {"density": 0.3}, space="delta", rank=f"energy:{share}")
        module = merge(recipe, tmp_path / f"out-{share}").modules[FIRST]
        assert module.energy_kept >= share - 1e-6
        ranks.append(module.rank)
    assert ranks[0] < ranks[1] < ranks[2] <= 50
    assert ranks[2] > 4  # far above the sum of the input ranks, where the search starts


def test_slerp_starts_at_its_base(tmp_path: Path) -> None:
    first, second = random_lora(tmp_path / "a", seed=1), random_lora(tmp_path / "b", seed=2)
    models = [{"model": str(folder)} for folder in (first, second)]
    recipe = {"merge_method": "slerp", "models": models, "parameters": {"t": 0}}
    merge({**recipe, "base_model": str(second)}, tmp_path / "from-second")
    merge(recipe, tmp_path / "from-first")
    assert relative_error(dense_deltas(tmp_path / "from-second")[SECOND], dense_deltas(second)[SECOND]) < 1e-6
    assert relative_error(dense_deltas(tmp_path / "from-first")[SECOND], dense_deltas(first)[SECOND]) < 1e-6

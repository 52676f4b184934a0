"""What every method promises, on adapter folders, against dense float64 deltas."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medley.errors import ParameterError
from merging import METHODS, merge, recipe_from_weights
from merging.report import MergeReport
from tests.merging.lora_files import SHAPES, dense_deltas, random_factors, random_lora, relative_error, write_lora
from tests.merging.promises import (
    BROKEN_BY_NATURE,
    CASES,
    PROMISES,
    every_method,
    neutral_weights,
    thinned,
    weights_for,
)


def run(tmp_path: Path, out: str, method: str, models: list[tuple[Path, float | None]], **keys: Any) -> MergeReport:
    parameters = keys.pop("parameters", None)
    return merge(recipe_from_weights(method, models, parameters, **keys), tmp_path / out)


def assert_same(found: Path, wanted: dict[str, torch.Tensor], tolerance: float = 1e-6) -> None:
    deltas = dense_deltas(found)
    assert set(deltas) == set(wanted)
    for name, delta in wanted.items():
        assert float((deltas[name] - delta).norm()) <= tolerance * (1e-3 + float(delta.norm())), name


def test_every_row_of_the_table_has_its_cases() -> None:
    found = {name: {keys.get("variant", "mergekit") for each, keys in CASES if each == name} for name, _ in CASES}
    assert found == {name: set(method.variants) for name, method in METHODS.items()}
    assert set(BROKEN_BY_NATURE) <= set(METHODS)
    assert all(set(broken) <= set(PROMISES) for broken in BROKEN_BY_NATURE.values())


@every_method("one adapter returns itself")
def test_one_adapter_returns_itself(tmp_path: Path, method: str, keys: dict[str, Any]) -> None:
    folder = random_lora(tmp_path / "a", seed=1, rank=3, lora_alpha=12)
    (weight,) = weights_for(method, [1.0])
    report = run(tmp_path, "out", method, [(folder, weight)], **keys)
    assert_same(tmp_path / "out", dense_deltas(folder))
    assert report.max_rank == 3


@every_method("identical adapters return themselves")
def test_identical_adapters_return_themselves(tmp_path: Path, method: str, keys: dict[str, Any]) -> None:
    folders = [random_lora(tmp_path / name, seed=1, rank=3) for name in "ab"]
    first, _ = folders
    run(tmp_path, "out", method, list(zip(folders, neutral_weights(method, keys), strict=True)), **keys)
    assert_same(tmp_path / "out", dense_deltas(first))


@every_method("weight 0 drops an adapter")
def test_weight_zero_drops_an_adapter(tmp_path: Path, method: str, keys: dict[str, Any]) -> None:
    kept, other = random_lora(tmp_path / "a", seed=1), random_lora(tmp_path / "b", seed=2)
    keys = thinned(method, keys, 0.6)
    run(tmp_path, "with", method, [(kept, 1.0), (other, 0.0)], seed=5, **keys)
    run(tmp_path, "without", method, [(kept, 1.0)], seed=5, **keys)
    assert_same(tmp_path / "with", dense_deltas(tmp_path / "without"))


@every_method("the order does not matter")
def test_the_order_of_the_adapters_does_not_matter(tmp_path: Path, method: str, keys: dict[str, Any]) -> None:
    ranks = (2, 2, 2) if method == "factor" else (1, 2, 3)
    folders = [random_lora(tmp_path / f"{index}", seed=index, rank=rank) for index, rank in enumerate(ranks)]
    models = list(zip(folders, weights_for(method, [0.4, 0.8, 1.2]), strict=True))
    keys = thinned(method, keys, 0.5)
    run(tmp_path, "there", method, models, **keys)
    run(tmp_path, "back", method, models[::-1], **keys)
    assert_same(tmp_path / "there", dense_deltas(tmp_path / "back"))
    if METHODS[method].family == "elementwise":
        assert weights_of(tmp_path / "there") == weights_of(tmp_path / "back")


@every_method("the gauge does not matter")
def test_the_gauge_does_not_matter(tmp_path: Path, method: str, keys: dict[str, Any]) -> None:
    """(B·G, G⁻¹·A) is the same adapter. G holds powers of two, so that the files hold exactly the same delta."""
    gauge = torch.tensor([[2.0, 2.0], [0.0, 4.0]])
    folder, other = random_lora(tmp_path / "a", seed=1), random_lora(tmp_path / "b", seed=2)
    moved = {}
    for index, (name, shape) in enumerate(SHAPES.items()):
        b, a = random_factors(*shape, 2, 100 + index)
        moved[name] = (b @ gauge, torch.linalg.inv(gauge) @ a)
    same = write_lora(tmp_path / "moved" / "a", moved)
    keys = thinned(method, keys, 0.5)
    run(tmp_path, "first", method, [(folder, None), (other, None)], **keys)
    run(tmp_path, "second", method, [(same, None), (other, None)], **keys)
    assert_same(tmp_path / "second", dense_deltas(tmp_path / "first"), tolerance=1e-5)


def test_factor_depends_on_the_gauge(tmp_path: Path) -> None:
    folder, other = random_lora(tmp_path / "a", seed=1), random_lora(tmp_path / "b", seed=2)
    moved = {
        name: (4 * random_factors(*shape, 2, 100 + index)[0], random_factors(*shape, 2, 100 + index)[1] / 4)
        for index, (name, shape) in enumerate(SHAPES.items())
    }
    same = write_lora(tmp_path / "moved" / "a", moved)
    assert_same(same, dense_deltas(folder))
    run(tmp_path, "first", "factor", [(folder, 0.5), (other, 0.5)])
    run(tmp_path, "second", "factor", [(same, 0.5), (other, 0.5)])
    first, second = dense_deltas(tmp_path / "first"), dense_deltas(tmp_path / "second")
    assert all(relative_error(second[name], first[name]) > 0.1 for name in SHAPES)


def test_factor_reports_how_far_it_is_from_the_sum(tmp_path: Path) -> None:
    folders = [random_lora(tmp_path / name, seed=seed, lora_alpha=6) for name, seed in (("a", 1), ("b", 2))]
    report = run(tmp_path, "out", "factor", [(folder, 0.5) for folder in folders])
    deltas = [dense_deltas(folder) for folder in folders]
    for name, module in report.modules.items():
        exact = 0.5 * deltas[0][name] + 0.5 * deltas[1][name]
        assert module.error == pytest.approx(relative_error(dense_deltas(tmp_path / "out")[name], exact), rel=1e-4)
    assert "factor is approximate" in report.warnings[-1]


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "concat"])
def test_mixed_adapters_sum_up_exactly(tmp_path: Path, method: str) -> None:
    """Other ranks, rsLoRA, alpha other than r, patterns, a missing module, a negative weight, bfloat16 inputs."""
    first_name, second_name = SHAPES
    plain = random_lora(tmp_path / "plain", seed=1, rank=2, lora_alpha=5)
    rslora = random_lora(tmp_path / "rslora", seed=2, rank=4, use_rslora=True, lora_alpha=3)
    patterned = write_lora(
        tmp_path / "patterned",
        {first_name: random_factors(6, 5, 1, 7), second_name: random_factors(7, 4, 3, 8)},
        r=1,
        lora_alpha=2,
        rank_pattern={"down_proj": 3},
        alpha_pattern={r".*\.down_proj": 9},
    )
    partial = write_lora(tmp_path / "partial", {first_name: random_factors(6, 5, 2, 9)}, dtype=torch.bfloat16)
    folders, weights = [plain, rslora, patterned, partial], [0.5, 1.5, -0.7, 2.0]
    report = run(tmp_path, "out", method, list(zip(folders, weights, strict=True)))
    divisor = sum(weights) if method == "linear" else 1.0
    wanted = {
        name: sum(
            weight / divisor * deltas[name]
            for weight, deltas in zip(weights, map(dense_deltas, folders), strict=True)
            if name in deltas
        )
        for name in SHAPES
    }
    assert report.dtype == "float32"
    assert_same(tmp_path / "out", wanted)


@pytest.mark.parametrize("rank", ["auto", 1, "energy:0.8"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("method", "space"), [("task_arithmetic", None), ("ties", "core")])
def test_the_reported_error_is_the_measured_one(
    tmp_path: Path, method: str, space: str | None, dtype: str, rank: str | int
) -> None:
    folders = [(random_lora(tmp_path / f"{seed}", seed=seed), 1.0) for seed in (1, 2)]
    run(tmp_path, "exact", method, folders, space=space, rank="exact", out_dtype="float32")
    report = run(tmp_path, "out", method, folders, space=space, rank=rank, out_dtype=dtype)
    exact, written = dense_deltas(tmp_path / "exact"), dense_deltas(tmp_path / "out")
    for name, module in report.modules.items():
        measured = relative_error(written[name], exact[name])
        assert module.error == pytest.approx(measured, rel=1e-3, abs=2e-7)
        assert module.norm == pytest.approx(float(exact[name].norm()), rel=1e-6)
    squares = sum(float((written[name] - exact[name]).square().sum()) for name in SHAPES)
    total = sum(float(exact[name].square().sum()) for name in SHAPES)
    assert report.error == pytest.approx((squares / total) ** 0.5, rel=1e-3, abs=2e-7)


def test_the_dense_space_reports_its_cut(tmp_path: Path) -> None:
    from merging.methods import ties

    folders = [random_lora(tmp_path / f"{seed}", seed=seed) for seed in (1, 2)]
    report = run(
        tmp_path, "out", "ties", [(each, 1.0) for each in folders], parameters={"density": 0.4}, space="delta", rank=2
    )
    for name, written in dense_deltas(tmp_path / "out").items():
        deltas = torch.stack([dense_deltas(each)[name].float() for each in folders])
        exact = ties.merge(deltas, weights=[1.0, 1.0], density=[0.4, 0.4])
        values = torch.linalg.svdvals(exact.double())
        assert report.modules[name].error == pytest.approx(relative_error(written, exact), rel=1e-4)
        assert report.modules[name].error == pytest.approx(float(values[2:].norm() / values.norm()), rel=1e-4)
        assert report.modules[name].energy_kept == pytest.approx(
            float(values[:2].square().sum() / values.square().sum()), rel=1e-4
        )


def test_what_cancels_is_written_as_rank_one_zeros(tmp_path: Path) -> None:
    folder = random_lora(tmp_path / "a", seed=1)
    again = random_lora(tmp_path / "b", seed=1)
    report = run(tmp_path, "out", "task_arithmetic", [(folder, 1.0), (again, -1.0)])
    assert {module.rank for module in report.modules.values()} == {0}
    assert all(not delta.any() for delta in dense_deltas(tmp_path / "out").values())
    assert (report.error, report.energy_kept) == (0.0, 1.0)


@every_method()
def test_zero_and_single_row_modules_in_bfloat16(tmp_path: Path, method: str, keys: dict[str, Any]) -> None:
    modules = {"zero": (torch.zeros(4, 1), torch.zeros(1, 3)), "row": random_factors(1, 5, 1, 1)}
    folders = [write_lora(tmp_path / name, modules, dtype=torch.bfloat16) for name in "ab"]
    report = run(tmp_path, "out", method, list(zip(folders, neutral_weights(method, keys), strict=True)), **keys)
    assert report.dtype == "bfloat16"
    deltas, inputs = dense_deltas(tmp_path / "out"), dense_deltas(folders[0])
    assert not deltas["zero"].any()
    if "identical adapters return themselves" in BROKEN_BY_NATURE.get(method, {}):
        assert 0.1 < float(deltas["row"].norm() / inputs["row"].norm()) < 10
    else:
        assert relative_error(deltas["row"], inputs["row"]) < 0.01  # both factors are rounded to 8 bits


def test_bfloat16_in_is_bfloat16_out_unless_said_otherwise(tmp_path: Path) -> None:
    folders = [(random_lora(tmp_path / f"{seed}", seed=seed, dtype=torch.bfloat16), 1.0) for seed in (1, 2)]
    assert run(tmp_path, "same", "linear", folders).dtype == "bfloat16"
    assert run(tmp_path, "wide", "linear", folders, out_dtype="float32").dtype == "float32"
    half = random_lora(tmp_path / "3", seed=3, dtype=torch.float16)
    assert run(tmp_path, "mixed", "linear", [*folders, (half, 1.0)]).dtype == "float32"


def test_a_result_too_large_for_float16_is_refused(tmp_path: Path) -> None:
    name = next(iter(SHAPES))
    large = write_lora(tmp_path / "a", {name: (torch.full((6, 1), 1e5), torch.full((1, 5), 1e5))})
    problem = rf"^The result of {name} does not fit into float16, whose largest number is 65504\. Set out_dtype: bf"
    with pytest.raises(ParameterError, match=problem):
        run(tmp_path, "out", "linear", [(large, 1.0)], out_dtype="float16")
    assert not (tmp_path / "out").exists()


def weights_of(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()

import json
import math
from pathlib import Path
from typing import Any

import pytest

from medley.errors import ProblemsError
from merging import Diagnosis, diagnose, energy_by_rank, merge, recipe_from_weights, similarity
from tests.merging.lora_files import SHAPES, dense_deltas, random_factors, random_lora, write_lora


def two(tmp_path: Path) -> list[Path]:
    return [random_lora(tmp_path / name, seed=seed, rank=seed, lora_alpha=3) for seed, name in ((1, "a"), (2, "b"))]


def of(
    method: str, folders: list[Path], parameters: Any = None, weights: tuple[float, ...] = (0.7, 0.3), **keys: Any
) -> Any:
    return recipe_from_weights(method, list(zip(folders, weights, strict=True)), parameters, **keys)


def test_norms_per_layer_are_those_of_the_dense_deltas(tmp_path: Path) -> None:
    folders = two(tmp_path)
    folders.append(write_lora(tmp_path / "head", {"lm_head": random_factors(9, 4, 1, 5)}))
    found = diagnose(of("task_arithmetic", folders, weights=(0.7, 0.3, 2)))
    deltas = [dense_deltas(folder) for folder in folders]
    assert found.names == ("a", "b", "head")
    assert [each.name for each in found.layers] == ["lm_head", "0", "1"]
    first, second = SHAPES
    for layer, module in zip(found.layers[1:], (first, second), strict=True):
        norms = [float(each[module].norm()) if module in each else 0.0 for each in deltas]
        assert layer.adapters == pytest.approx(norms, rel=1e-5)
        assert layer.result == pytest.approx(
            float((0.7 * deltas[0][module] + 0.3 * deltas[1][module]).norm()), rel=1e-5
        )
    assert found.layers[0].result == pytest.approx(2 * float(deltas[2]["lm_head"].norm()), rel=1e-5)


def test_the_same_numbers_as_each_picture_alone(tmp_path: Path) -> None:
    folders = two(tmp_path)
    for recipe in (of("linear", folders), of("ties", folders, {"density": 0.5})):
        found = diagnose(recipe)
        assert [list(row) for row in found.cosines] == similarity(folders)
        assert list(found.energy) == pytest.approx(energy_by_rank(recipe))


def test_the_error_of_a_rank_is_the_error_that_the_merge_reports(tmp_path: Path) -> None:
    folders = two(tmp_path)
    found = diagnose(of("linear", folders))
    assert len(found.energy) == 3
    for rank in (1, 2):
        report = merge(of("linear", folders, rank=rank), tmp_path / f"out{rank}")
        assert report.error == pytest.approx(found.errors[rank - 1], rel=1e-3)
    assert found.errors[2] == pytest.approx(0, abs=1e-6)


def test_the_rank_for_a_share() -> None:
    found = Diagnosis((), (), (), (), (), None, (0.5, 0.9, 0.98, 1.0), False, None)  # type: ignore[arg-type]
    assert [found.rank_for(share) for share in (0.4, 0.9, 0.95, 0.99, 1.0)] == [1, 2, 3, 4, 4]
    assert found.errors == pytest.approx([math.sqrt(0.5), math.sqrt(0.1), math.sqrt(0.02), 0])


def test_conflicts_follow_the_signs_of_the_weights(tmp_path: Path) -> None:
    """Taking an adapter away from its own copy: all entries agree, or all are opposed."""
    folders = [random_lora(tmp_path / name, seed=1) for name in "ab"]
    agree, opposed = (diagnose(of("task_arithmetic", folders, weights=(1, weight))).conflict for weight in (2, -2))
    assert (agree.share, opposed.share) == (0.0, 1.0)
    assert agree.seen == agree.size == 6 * 5 + 7 * 4
    assert diagnose(of("task_arithmetic", folders, weights=(1, 0))).conflict is None


def test_every_adapter_with_numbers_that_are_none_is_named(tmp_path: Path) -> None:
    folders = two(tmp_path)
    name = next(iter(SHAPES))
    for index, number in enumerate((math.nan, math.inf)):
        b, a = random_factors(6, 5, 2, index)
        b[0, 0] = number
        folders.append(write_lora(tmp_path / f"bad{index}", {name: (b, a)}))
    with pytest.raises(ProblemsError) as caught:
        diagnose(of("linear", folders, weights=(1, 1, 1, 1)))
    advice = "its training went wrong. Train it again with a lower learning rate, or take an earlier version."
    assert caught.value.problems == tuple(f"'bad{i}' holds NaN or Infinity in {name}: {advice}" for i in (0, 1))


def test_what_preflight_refuses_is_refused_here(tmp_path: Path) -> None:
    dora = random_lora(tmp_path / "dora", seed=3, use_dora=True)
    with pytest.raises(ProblemsError, match="'dora' uses DoRA"):
        diagnose(of("linear", [dora], weights=(1,)))


def test_a_dense_merge_is_shown_by_its_core(tmp_path: Path) -> None:
    folders = two(tmp_path)
    dense, core = (diagnose(of("ties", folders, {"density": 0.5}, space=space)) for space in ("delta", "core"))
    assert (dense.is_core_spectrum, core.is_core_spectrum) == (True, False)
    assert dense.energy == core.energy


def test_as_plain_values(tmp_path: Path) -> None:
    values = json.loads(json.dumps(diagnose(of("linear", two(tmp_path))).to_mapping()))
    assert set(values) == {
        "names", "cosines", "output_overlap", "input_overlap", "layers", "conflict", "energy", "errors",
        "rank_for_energy", "is_core_spectrum", "cost",
    }  # fmt: skip
    assert set(values["rank_for_energy"]) == {"0.9", "0.95", "0.99"}
    assert values["layers"][0]["name"] == "0"


def test_two_stacks_of_layers_are_told_apart(tmp_path: Path) -> None:
    names = ["encoder.layers.0.q", "decoder.layers.0.q"]
    folder = write_lora(tmp_path / "a", {name: random_factors(4, 4, 1, 1) for name in names})
    assert [each.name for each in diagnose(of("linear", [folder], weights=(1,))).layers] == [
        "decoder.layers.0", "encoder.layers.0",
    ]  # fmt: skip


def test_it_reads_each_adapter_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from merging import reading

    read: list[str] = []
    real = reading.Reader.factors

    def counted(self: Any, index: int | None, plan: Any) -> Any:
        read.append(f"{index}:{plan.name}")
        return real(self, index, plan)

    monkeypatch.setattr(reading.Reader, "factors", counted)
    diagnose(of("linear", two(tmp_path)))
    measured = read[4:]  # a module of each shape is merged three times to be timed
    assert sorted(read[:4]) == sorted(f"{i}:{name}" for i in (0, 1) for name in SHAPES)
    assert len(measured) == 2 * 3 * 2

"""Methods that go by singular vectors: TSV-Merge, Iso-C and Iso-CTS, by hand and against dense deltas."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merging import merge, recipe_from_weights
from merging.methods import iso_c, iso_cts, tsv
from merging.spaces.core import core_space
from tests.merging.lora_files import SHAPES, dense_deltas, random_factors, random_lora, relative_error, write_lora

RULES = {"tsv": tsv.merge, "iso_c": iso_c.merge, "iso_cts": iso_cts.merge}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def deltas(*matrices: list[list[float]]) -> torch.Tensor:
    return torch.tensor(matrices, dtype=torch.float64)


def diagonals(*values: list[float]) -> torch.Tensor:
    return torch.stack([torch.diag(torch.tensor(each, dtype=torch.float64)) for each in values])


def parts_of(delta: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    return left[:, :rank], values[:rank], right[:rank]


def right_angled(columns: torch.Tensor) -> torch.Tensor:
    """X·(XᵀX)^(−½), the other way to write the nearest matrix with orthonormal columns."""
    values, vectors = torch.linalg.eigh(columns.T @ columns)
    return columns @ vectors @ torch.diag(values.rsqrt()) @ vectors.T


def dense_tsv(dense: Sequence[torch.Tensor], ranks: Sequence[int], weights: Sequence[float]) -> torch.Tensor:
    """TSV-Merge on whole deltas, with as many directions of each as it has."""
    parts = [parts_of(delta, rank) for delta, rank in zip(dense, ranks, strict=True)]
    left = right_angled(torch.cat([u for u, _, _ in parts], dim=1))
    right = right_angled(torch.cat([v for _, _, v in parts]).T)
    return left * torch.cat([w * s for w, (_, s, _) in zip(weights, parts, strict=True)]) @ right.T


def dense_iso_c(dense: Sequence[torch.Tensor], ranks: Sequence[int], weights: Sequence[float]) -> torch.Tensor:
    total = sum(weight * delta for weight, delta in zip(weights, dense, strict=True))
    left, values, right = parts_of(total, sum(ranks))
    return values.mean() * left @ right


def dense_iso_cts(dense: Sequence[torch.Tensor], ranks: Sequence[int], weights: Sequence[float]) -> torch.Tensor:
    size = sum(ranks)
    own = (size - int(0.8 * size)) // len(dense)
    weighted = [weight * delta for weight, delta in zip(weights, dense, strict=True)]
    parts = [parts_of(sum(weighted), size - own * len(dense))]
    outside = torch.eye(len(dense[0]), dtype=torch.float64) - parts[0][0] @ parts[0][0].T
    parts += [parts_of(outside @ delta, own) for delta in weighted]
    left, right = torch.cat([u for u, _, _ in parts], dim=1), torch.cat([v for _, _, v in parts])
    return torch.cat([s for _, s, _ in parts]).mean() * right_angled(left) @ right_angled(right.T).T


ORACLES = {"tsv": dense_tsv, "iso_c": dense_iso_c, "iso_cts": dense_iso_cts}


def test_two_directions_are_turned_apart_by_hand() -> None:
    # 3·e₁e₁ᵀ and 4·ue₂ᵀ with u at 60°: turned apart evenly around 30° to −15° and 75°; e₁ and e₂ stay
    sixty = math.pi / 3
    merged = tsv.merge(
        deltas([[3.0, 0.0], [0.0, 0.0]], [[0.0, 4 * math.cos(sixty)], [0.0, 4 * math.sin(sixty)]]), weights=[1.0, 1.0]
    )
    first, second = math.radians(-15), math.radians(75)
    assert merged.tolist() == [
        pytest.approx([3 * math.cos(first), 4 * math.cos(second)]),
        pytest.approx([3 * math.sin(first), 4 * math.sin(second)]),
    ]


def test_what_is_at_right_angles_already_is_added_up_by_tsv() -> None:
    merged = tsv.merge(diagonals([3.0, 0.0], [0.0, 2.0]), weights=[1.0, -0.5], lambda_=2.0)
    assert merged.tolist() == [pytest.approx([6.0, 0.0]), pytest.approx([0.0, -2.0])]


def test_tsv_keeps_the_strongest_share() -> None:
    # of 3 directions ⌊0.7·3⌋ = 2 stay; of 1 at least 1
    merged = tsv.merge(diagonals([5.0, 4.0, 3.0, 0.0], [0.0, 0.0, 0.0, 1.0]), weights=[1.0, 1.0], keep=0.7)
    assert torch.allclose(merged, diagonals([5.0, 4.0, 0.0, 1.0])[0])


def test_the_spectrum_of_the_sum_becomes_flat_by_hand() -> None:
    # diag(3, 0) + diag(0, 1): mean 2; a direction in which the sum is zero stays zero and counts in the mean
    assert torch.allclose(iso_c.merge(diagonals([3.0, 0.0], [0.0, 1.0]), weights=[1.0, 1.0]), diagonals([2.0, 2.0])[0])
    halved = iso_c.merge(diagonals([3.0, 1.0], [0.0, -1.0]), weights=[1.0, 1.0])
    assert torch.allclose(halved, diagonals([1.5, 0.0])[0])


def test_iso_cts_gives_the_weak_places_to_each_adapters_own_by_hand() -> None:
    # R = 3, fraction ½: ⌊1.5⌋ = 1 common place and ⌊(3 − 1)/2⌋ = 1 for each adapter
    # the sum diag(8, ½, 1) gives e₁ with 8; outside of it the first has e₂ with 1, the second e₃ with 1: mean 10/3
    pair = diagonals([4.0, 1.0, 0.0], [4.0, -0.5, 1.0])
    merged = iso_cts.merge(pair, weights=[1.0, 1.0], common_fraction=0.5)
    assert torch.allclose(merged, diagonals([10 / 3] * 3)[0])
    assert torch.allclose(iso_c.merge(pair, weights=[1.0, 1.0]), diagonals([9.5 / 3] * 3)[0])


@every_rule
def test_deltas_that_cancel_or_are_missing(rule: Callable[..., torch.Tensor]) -> None:
    assert not rule(torch.zeros(2, 0, 0, dtype=torch.float64), weights=[1.0, 1.0]).numel()
    assert not rule(torch.zeros(2, 3, 3, dtype=torch.float64), weights=[1.0, 1.0]).any()
    alone = rule(diagonals([2.0, 0.0], [0.0, 0.0]), weights=[1.0, 1.0])
    assert torch.allclose(alone, diagonals([2.0 if rule is tsv.merge else 1.0, 0.0])[0])


def test_of_opposites_nothing_is_left() -> None:
    one = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for rule in (tsv.merge, iso_c.merge):
        assert float(rule(torch.stack([one, one]), weights=[0.3, -0.3]).norm()) < 1e-12


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(RULES)), st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(0, 9999), st.data()
)
def test_the_core_gives_what_the_dense_rule_gives_on_the_adapters_directions(
    name: str, ranks: list[int], seed: int, data: st.DataObject
) -> None:
    sizes = st.floats(-2, 2).filter(lambda weight: abs(weight) > 0.1)
    weights = data.draw(st.lists(sizes, min_size=len(ranks), max_size=len(ranks)))
    factors = [random_factors(13, 11, rank, seed + index) for index, rank in enumerate(ranks)]
    dense = ORACLES[name]([b.double() @ a.double() for b, a in factors], ranks, weights)
    space = core_space(factors)
    lifted = space.lift(RULES[name](space.deltas, weights=weights))
    assert relative_error(lifted.left * lifted.values @ lifted.right, dense) < 1e-6


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(RULES)), st.integers(1, 3), st.integers(0, 9999))
def test_turning_the_axes_turns_the_result(name: str, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    some = torch.randn(count, 5, 5, generator=generator, dtype=torch.float64)
    left, right = (torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q for _ in range(2))
    merged = RULES[name](some, weights=[1.0] * count)
    turned = RULES[name](left @ some @ right, weights=[1.0] * count)
    assert relative_error(turned, left @ merged @ right) < 1e-7


@pytest.mark.parametrize("method", ["iso_c", "iso_cts"])
def test_iso_makes_one_adapter_flat_and_keeps_the_sum_of_its_singular_values(tmp_path: Path, method: str) -> None:
    """What they do instead of returning it; twice is the same as once, and an adapter of rank 1 returns itself."""
    folder = random_lora(tmp_path / "a", seed=1, rank=3)
    merge(recipe_from_weights(method, [(folder, 1.0)]), tmp_path / "once")
    merge(recipe_from_weights(method, [(tmp_path / "once", 1.0)]), tmp_path / "twice")
    once, twice = dense_deltas(tmp_path / "once"), dense_deltas(tmp_path / "twice")
    for name, delta in dense_deltas(folder).items():
        left, values, right = parts_of(delta, 3)
        assert relative_error(once[name], values.mean() * left @ right) < 1e-6
        assert relative_error(twice[name], once[name]) < 1e-6
    thin = random_lora(tmp_path / "thin", seed=2, rank=1)
    merge(recipe_from_weights(method, [(thin, 1.0)]), tmp_path / "same")
    for name, delta in dense_deltas(thin).items():
        assert relative_error(dense_deltas(tmp_path / "same")[name], delta) < 1e-6


@pytest.mark.parametrize("method", RULES)
def test_mixed_adapters_from_files(tmp_path: Path, method: str) -> None:
    """Other ranks, rsLoRA, alpha other than r, a module of one adapter alone, a negative weight, float16 inputs."""
    first, second = SHAPES
    plain = random_lora(tmp_path / "plain", seed=1, rank=2, lora_alpha=5)
    rslora = random_lora(tmp_path / "rslora", seed=2, rank=1, use_rslora=True, lora_alpha=3)
    partial = write_lora(tmp_path / "partial", {first: random_factors(6, 5, 1, 9)}, dtype=torch.float16)
    folders, weights = [plain, rslora, partial], [0.5, 1.5, -0.7]
    report = merge(recipe_from_weights(method, list(zip(folders, weights, strict=True))), tmp_path / "out")
    inputs, found = [dense_deltas(folder) for folder in folders], dense_deltas(tmp_path / "out")
    for name, count in ((first, 3), (second, 2)):  # in the second module the third adapter is zero: no directions
        dense = [each[name] for each in inputs[:count]]
        wanted = ORACLES[method](dense, [2, 1, 1][:count], weights[:count])
        assert relative_error(found[name], wanted) < 1e-5
    assert (report.space, report.warnings) == ("core", ())

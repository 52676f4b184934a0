"""Our rules against mergekit's own, in memory, where they mean the same: deltas beside a zero base."""

from types import ModuleType

import pytest
import torch
from mergekit.merge_methods.api import merge_tensors
from mergekit.merge_methods.registry import registered_methods

from merging import METHODS
from merging.methods import (
    breadcrumbs,
    breadcrumbs_ties,
    dare_linear,
    dare_ties,
    della,
    della_linear,
    linear,
    sce,
    slerp,
    task_arithmetic,
    ties,
)
from tests.merging.lora_files import random_factors

ROWS, COLUMNS = 12, 9
WEIGHTS = [0.8, 1.5, -0.6]


@pytest.fixture
def deltas() -> torch.Tensor:
    return torch.stack([torch.matmul(*random_factors(ROWS, COLUMNS, 3, seed)) for seed in (1, 2, 3)])


def theirs(method: str, deltas: torch.Tensor, *, with_base: bool = True, **parameters: object) -> torch.Tensor:
    """mergekit's result; the base is zero, so that weights minus base are the deltas."""
    tensors = [*deltas, torch.zeros(ROWS, COLUMNS)] if with_base else list(deltas)
    base_index = len(deltas) if with_base else None
    return merge_tensors(tensors, method, parameters=parameters, base_index=base_index)


def per_model(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def weighted(deltas: torch.Tensor, coefficients: list[float]) -> torch.Tensor:
    return torch.einsum("n,nij->ij", torch.tensor(coefficients), deltas)


@pytest.mark.parametrize("normalize", [True, False])
def test_linear(deltas: torch.Tensor, normalize: bool) -> None:
    expected = theirs("linear", deltas, with_base=False, weight=WEIGHTS, normalize=normalize)
    ours = weighted(deltas, linear.coefficients([], weights=WEIGHTS, normalize=normalize))
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
def test_task_arithmetic(deltas: torch.Tensor, normalize: bool) -> None:
    expected = theirs("task_arithmetic", deltas, weight=per_model(WEIGHTS), normalize=normalize, **{"lambda": 0.7})
    ours = task_arithmetic.coefficients([], weights=WEIGHTS, normalize=normalize, lambda_=0.7)
    assert torch.allclose(weighted(deltas, ours), expected, atol=1e-5)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp(t: float) -> None:
    factors = [random_factors(ROWS, COLUMNS, 3, seed) for seed in (1, 2)]
    deltas = torch.stack([b @ a for b, a in factors])
    expected = merge_tensors(list(deltas), "slerp", parameters={"t": t}, base_index=0)
    assert torch.allclose(weighted(deltas, slerp.coefficients(factors, t=t)), expected, atol=1e-5)


MIXES = [  # weights and densities of the three adapters
    pytest.param([0.8, 1.5, -0.6], [0.5, 0.8, 0.3], id="mixed"),
    pytest.param([1.0, 1.0, 1.0], [0.25, 0.25, 0.25], id="sparse"),
    pytest.param([0.2, 0.3, 0.5], [1.0, 0.6, 1.0], id="partly-full"),
]
THINNED = {"dare_linear": dare_linear, "dare_ties": dare_ties, "della_linear": della_linear, "della": della}
every_mix = pytest.mark.parametrize(("weights", "density"), MIXES)
with_and_without_normalize = pytest.mark.parametrize("normalize", [True, False])
with_and_without_rescale = pytest.mark.parametrize("rescale", [True, False])


def assert_equal(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """Up to the rounding of sums in another order."""
    torch.testing.assert_close(ours, expected, rtol=2e-6, atol=2e-6)


@every_mix
@with_and_without_normalize
@with_and_without_rescale
def test_ties(deltas: torch.Tensor, weights: list[float], density: list[float], normalize: bool, rescale: bool) -> None:
    switches = {"normalize": normalize, "rescale": rescale}
    named = {"weight": per_model(weights), "density": per_model(density), "lambda": 1.2}
    ours = ties.merge(deltas, weights=weights, density=density, **switches, lambda_=1.2)
    assert_equal(ours, theirs("ties", deltas, **named, **switches))


@every_mix
@pytest.mark.parametrize("gamma", [0.01, 0.1, 0.6])
@pytest.mark.parametrize("module", [breadcrumbs, breadcrumbs_ties])
@with_and_without_normalize
@with_and_without_rescale
def test_breadcrumbs(
    deltas: torch.Tensor,
    weights: list[float],
    density: list[float],
    gamma: float,
    module: ModuleType,
    normalize: bool,
    rescale: bool,
) -> None:
    """Also where gamma and density are more than everything, and where gamma is less than one entry."""
    switches = {"normalize": normalize, "rescale": rescale}
    named = {"weight": per_model(weights), "density": per_model(density), "gamma": gamma, "lambda": 0.7}
    ours = module.merge(deltas, weights=weights, density=density, gamma=[gamma] * 3, **switches, lambda_=0.7)
    assert_equal(ours, theirs(module.__name__.rpartition(".")[2], deltas, **named, **switches))


@every_mix
@pytest.mark.parametrize("name", THINNED)
@with_and_without_normalize
@with_and_without_rescale
def test_dare_and_della_with_the_same_random_numbers(
    deltas: torch.Tensor,
    weights: list[float],
    density: list[float],
    name: str,
    normalize: bool,
    rescale: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """mergekit draws from one global generator; here from one that has the numbers of ours."""
    generator = torch.Generator().manual_seed(3)
    monkeypatch.setattr(
        torch, "bernoulli", lambda chance: (torch.rand(chance.shape, generator=generator) < chance).float()
    )
    epsilon = {"epsilon": [0.1, 0.05, 0.2]} if "della" in name else {}
    named = {"weight": per_model(weights), "density": per_model(density), "normalize": normalize, "rescale": rescale}
    expected = theirs(name, deltas, **named, **{key: per_model(values) for key, values in epsilon.items()})
    ours = THINNED[name].merge(
        deltas,
        weights=weights,
        generator=torch.Generator().manual_seed(3),
        density=density,
        **epsilon,
        normalize=normalize,
        rescale=rescale,
    )
    assert_equal(ours, expected)


@pytest.mark.parametrize("size", [1.0, 1e-4], ids=["large", "under-the-floor"])
@pytest.mark.parametrize("select_topk", [1.0, 0.6, 0.05])
@pytest.mark.parametrize("count", [2, 3])
def test_sce(deltas: torch.Tensor, count: int, select_topk: float, size: float) -> None:
    some = deltas[:count] * size
    expected = theirs("sce", some, select_topk=select_topk)
    torch.testing.assert_close(sce.merge(some, select_topk=select_topk), expected, rtol=2e-6, atol=2e-6 * size)


def test_parameters_and_defaults_are_mergekits() -> None:
    """Of every method that both know, but for what does nothing there."""
    idle = {"task_arithmetic": {"density", "rescale"}}
    shared = [theirs for theirs in registered_methods() if theirs.spec.name in METHODS]
    assert len(shared) >= 15
    for theirs_of_method in shared:
        row = METHODS[theirs_of_method.spec.name]
        expected = {each.name: each for each in theirs_of_method.spec.parameters if each.name != "int8_mask"}
        assert {each.name for each in row.parameters} | idle.get(row.name, set()) == set(expected), row.name
        for each in row.parameters:
            assert each.is_required == expected[each.name].required, (row.name, each.name)
            assert each.is_required or each.default == expected[each.name].default, (row.name, each.name)

"""Our rules against mergekit's own, in memory, where they mean the same: deltas beside a zero base."""

import pytest
import torch
from mergekit.merge_methods.api import merge_tensors

from merging import sparsity
from merging.methods import dare_linear, dare_ties, linear, slerp, task_arithmetic, ties
from tests.merging.lora_files import random_factors

ROWS, COLUMNS = 12, 9
WEIGHTS, DENSITY = [0.8, 1.5, -0.6], [0.5, 0.8, 0.3]


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


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
def test_ties(deltas: torch.Tensor, normalize: bool, rescale: bool) -> None:
    settings = {"normalize": normalize, "rescale": rescale}
    expected = theirs(
        "ties", deltas, weight=per_model(WEIGHTS), density=per_model(DENSITY), **settings, **{"lambda": 1.2}
    )
    ours = ties.merge(deltas, weights=WEIGHTS, density=DENSITY, **settings, lambda_=1.2)
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "module"), [("dare_linear", dare_linear), ("dare_ties", dare_ties)])
@pytest.mark.parametrize("normalize", [True, False])
def test_dare_with_nothing_dropped(deltas: torch.Tensor, name: str, module: object, normalize: bool) -> None:
    expected = theirs(name, deltas, weight=per_model(WEIGHTS), density=1.0, normalize=normalize)
    ours = module.merge(deltas, weights=WEIGHTS, generator=torch.Generator(), density=[1.0] * 3, normalize=normalize)
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "module"), [("dare_linear", dare_linear), ("dare_ties", dare_ties)])
@pytest.mark.parametrize("rescale", [True, False])
def test_dare_with_the_same_masks(
    deltas: torch.Tensor, name: str, module: object, rescale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers decide in both what is dropped; only what is done with the rest is compared."""
    drawn = [torch.rand(ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    monkeypatch.setattr(torch, "bernoulli", lambda chance, queue=list(drawn): (queue.pop(0) < chance).float())
    expected = theirs(name, deltas, weight=per_model(WEIGHTS), density=per_model(DENSITY), rescale=rescale)
    queue = list(drawn)
    monkeypatch.setattr(sparsity, "random_mask", lambda delta, density, generator: queue.pop(0) < density)
    monkeypatch.setattr(dare_linear, "random_mask", sparsity.random_mask)
    ours = module.merge(deltas, weights=WEIGHTS, generator=torch.Generator(), density=DENSITY, rescale=rescale)
    assert torch.allclose(ours, expected, atol=1e-5)

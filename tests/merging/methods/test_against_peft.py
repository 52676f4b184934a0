"""The papers' rules, magnitude pruning and `factor` against peft's own functions, where they mean the same."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from peft.tuners.lora.model import LoraModel
from peft.utils import merge_utils

from merging.methods import dare_linear, dare_ties, factor, magnitude_prune, ties
from tests.merging.lora_files import random_factors

WEIGHTS = [0.8, 1.5, -0.6]


@pytest.fixture
def deltas() -> torch.Tensor:
    return torch.stack([torch.matmul(*random_factors(12, 9, 3, seed)) for seed in (1, 2, 3)])


@pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
def test_magnitude_pruning(deltas: torch.Tensor, density: float) -> None:
    expected = merge_utils.magnitude_prune(list(deltas), torch.tensor(WEIGHTS), density)
    ours = magnitude_prune.merge(deltas, weights=WEIGHTS, density=[density] * 3)
    torch.testing.assert_close(ours, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
def test_ties_of_the_paper_trimmed_per_matrix(deltas: torch.Tensor, density: float) -> None:
    """peft trims each matrix, the paper the whole adapter: with the matrix's own edge the two are one."""
    kept = int(density * deltas[0].numel())
    edges = [float(delta.abs().flatten().sort(descending=True).values[kept - 1]) for delta in deltas]
    expected = merge_utils.ties(list(deltas), torch.tensor(WEIGHTS), density)
    ours = ties.merge_paper(deltas, weights=WEIGHTS, density=[density] * 3, threshold=edges)
    torch.testing.assert_close(ours, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(
    ("rule", "theirs", "switches"),
    [
        (dare_linear.merge_paper, merge_utils.dare_linear, {}),
        (dare_ties.merge_paper, merge_utils.dare_ties, {"normalize": True}),
    ],
    ids=["dare_linear", "dare_ties"],
)
def test_dare_of_the_paper_with_the_same_random_numbers(
    deltas: torch.Tensor,
    density: float,
    rule: Callable[..., torch.Tensor],
    theirs: Callable[..., torch.Tensor],
    switches: dict[str, bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """peft draws from the global generator; here from one that has the numbers of ours."""
    generator = torch.Generator().manual_seed(3)
    monkeypatch.setattr(
        torch,
        "bernoulli",
        lambda chance: (torch.rand(chance.shape, generator=generator) < chance).float(),
    )
    expected = theirs(list(deltas), torch.tensor(WEIGHTS), density)
    ours = rule(deltas, weights=WEIGHTS, generator=torch.Generator().manual_seed(3), density=[density] * 3, **switches)
    torch.testing.assert_close(ours, expected, rtol=2e-6, atol=2e-6)


def test_the_average_of_the_factors_with_a_negative_weight() -> None:
    """Which of the two factors gets the sign decides the signs of the cross terms."""
    factors = [random_factors(5, 4, 2, seed) for seed in (1, 2, 3)]
    scales = [2.0, 0.5, 1.0]
    b, a = ({str(index): SimpleNamespace(weight=pair[side]) for index, pair in enumerate(factors)} for side in (0, 1))
    layer = SimpleNamespace(lora_A=a, lora_B=b, lora_embedding_A={}, scaling=dict(zip("012", scales, strict=True)))
    merged = LoraModel._generalized_task_arithmetic_weighted_adapter
    expected_a, expected_b = merged(None, "linear", list("012"), WEIGHTS, layer, None, None)
    weights = [weight * scale for weight, scale in zip(WEIGHTS, scales, strict=True)]
    ours_b, ours_a = factor.merge_factors(factors, weights=weights)
    torch.testing.assert_close(ours_b @ ours_a, expected_b @ expected_a)

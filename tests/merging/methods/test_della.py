"""Chances by rank within a row, and what makes up for what was dropped."""

import pytest
import torch

from medley.errors import ParameterError
from merging import parse_recipe, preflight
from merging.methods import della, della_linear
from merging.methods.della_linear import keep_chances, ranks_within_rows
from tests.merging.lora_files import random_lora


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def approx(rows: list[list[float]]) -> list[list[float]]:
    return [pytest.approx(row, abs=1e-6) for row in rows]


def test_the_chances_rise_with_the_rank_within_the_row() -> None:
    # density 0.5, epsilon 0.2: from 0.3 in equal steps of 0.4 / (columns - 1) to 0.7, whatever the sizes are
    delta = torch.tensor([[1.0, -50.0, 3.0], [-0.3, 0.1, 0.2]])
    assert keep_chances(delta, 0.5, 0.2).tolist() == approx([[0.3, 0.7, 0.5], [0.7, 0.3, 0.5]])


def test_equals_share_their_chance_and_a_single_column_has_the_density() -> None:
    # ranks 0, 1.5, 1.5, 3 of 3: 0.3 + 0.4 · {0, 1/2, 1/2, 1}
    assert keep_chances(torch.tensor([[1.0, -2.0, 2.0, 5.0]]), 0.5, 0.2).tolist() == approx([[0.3, 0.5, 0.5, 0.7]])
    assert keep_chances(torch.tensor([[7.0], [0.0]]), 0.4, 0.2).tolist() == approx([[0.4], [0.4]])
    assert keep_chances(torch.zeros(1, 3), 0.4, 0.2).tolist() == approx([[0.4, 0.4, 0.4]])


def test_equals_of_one_row_are_none_of_the_next() -> None:
    values = torch.tensor([[4.0, 4, 9], [9, 1, 9], [3, 3, 3], [5, 7, 6], [2, 2, 8]])
    assert ranks_within_rows(values).tolist() == [[0.5, 0.5, 2], [1.5, 0, 1.5], [1, 1, 1], [0, 2, 1], [0.5, 0.5, 2]]


def test_what_stays_is_scaled_by_each_house_in_its_way() -> None:
    delta = torch.tensor([[[1.0, -2.0, 3.0, 4.0, -5.0, 6.0]]])
    chances = torch.tensor([[0.3, 0.38, 0.46, 0.54, 0.62, 0.7]])
    mask = torch.rand(1, 6, generator=seeded(4)) < chances
    assert 0 < int(mask.sum()) < 6
    settings = {"weights": [1.0], "density": [0.5], "epsilon": [0.2]}
    ours = della_linear.merge(delta, **settings, generator=seeded(4))
    assert torch.allclose(ours, delta[0] * mask * 21 / (delta[0] * mask).abs().sum())
    paper = della_linear.merge_paper(delta, **settings, generator=seeded(4))
    assert torch.allclose(paper, delta[0] * mask / chances)
    bare = della_linear.merge(delta, **settings, generator=seeded(4), rescale=False)
    assert torch.equal(bare, delta[0] * mask)


def test_the_papers_factor_keeps_the_expectation_of_every_entry() -> None:
    """mergekit's one factor keeps the sum of magnitudes, so it raises large entries at the cost of small ones."""
    delta = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    settings = {"weights": [1.0], "density": [0.5], "epsilon": [0.4]}
    generator, total = seeded(1), {"merge": torch.zeros(1, 4), "merge_paper": torch.zeros(1, 4)}
    for _ in range(4000):
        for rule in total:
            total[rule] += getattr(della_linear, rule)(delta, **settings, generator=generator)
    # one draw of the smallest, kept with chance 0.1, has deviation √(1/0.1 - 1) = 3; the mean of 4000 3/√4000 = 0.05
    assert (total["merge_paper"] / 4000).tolist() == [pytest.approx([1.0, 2.0, 3.0, 4.0], abs=0.2)]
    mean = (total["merge"] / 4000)[0]
    assert mean[0] < 0.5
    assert mean[3] > 4.5


def test_at_full_density_it_is_a_sum_or_an_election() -> None:
    # as for DARE: weighted [2, -4], [3, 5]; totals 5, 1; the -4 disagrees. della divides by the weights that agree
    deltas = torch.tensor([[[1.0, -2.0]], [[3.0, 5.0]]])
    settings = {"weights": [2.0, 1.0], "density": [1.0, 1.0], "epsilon": [0.15, 0.15], "generator": seeded()}
    assert della_linear.merge(deltas, **settings, lambda_=0.5).tolist() == [[2.5, 0.5]]
    assert della.merge(deltas, **settings).tolist() == [[pytest.approx(5 / 3), 5.0]]
    assert della.merge(deltas, **settings, normalize=False).tolist() == [[5.0, 5.0]]
    # unweighted totals 4, 3; (2·1 + 1·3) / 2 agree in entry 0, 5 / 1 in entry 1
    assert della.merge_paper(deltas, **settings).tolist() == [[2.5, 5.0]]


def test_chances_outside_of_0_and_1_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    sentence = (
        "density - epsilon and density + epsilon must lie between 0 and 1, got density 0.9 and epsilon 0.15. "
        "Lower epsilon, or set density to 1, which drops nothing."
    )
    with pytest.raises(ParameterError) as caught:
        keep_chances(torch.ones(1, 2), 0.9, 0.15)
    assert str(caught.value) == sentence
    folder = random_lora(tmp_path_factory.mktemp("adapters") / "a", seed=1)
    models = [{"model": str(folder), "parameters": {"weight": 1.0, "density": 0.9}}]
    assert preflight(parse_recipe({"merge_method": "della", "models": models})).problems == (sentence,)
    models[0]["parameters"]["epsilon"] = 0.05
    assert preflight(parse_recipe({"merge_method": "della", "models": models})).problems == ()

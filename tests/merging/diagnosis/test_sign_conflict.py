import math

import pytest
import torch

from merging.diagnosis.sign_conflict import ModuleConflict, module_conflict, sum_conflicts
from tests.merging.lora_files import random_factors


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_small_module_is_counted_as_a_whole() -> None:
    """Entries (1, 2; 0, -1) and (1, -1; 5, -1): one of four is opposed; a zero takes no side."""
    first = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.eye(2)
    second = torch.tensor([[1.0, -1.0], [5.0, -1.0]]), torch.eye(2)
    assert module_conflict([first, second], drawn()) == ModuleConflict(size=4, seen=4, opposed=1)
    assert module_conflict([first, (-second[0], second[1])], drawn()).opposed == 2


def test_a_large_module_is_sampled_without_bias() -> None:
    """Each sample's distance from the truth, in its own standard errors, has mean 0 and spread 1."""
    deltas = [random_factors(120, 80, 2, seed) for seed in (1, 2)]
    dense = torch.stack([b @ a for b, a in deltas])
    truth = float((dense[0] * dense[1] < 0).float().mean())
    samples = [sum_conflicts([module_conflict(deltas, drawn(seed))]) for seed in range(200)]
    assert {(each.seen, each.size) for each in samples} == {(1024, 9600)}
    distances = torch.tensor([(each.share - truth) / each.standard_error for each in samples])
    assert abs(float(distances.mean())) < 3 / math.sqrt(200)
    assert 0.8 < float(distances.std()) < 1.2


def test_modules_weigh_by_their_size() -> None:
    found = sum_conflicts([ModuleConflict(10, 10, 5), ModuleConflict(30, 11, 0), ModuleConflict(60, 5, 1)])
    assert found.share == pytest.approx(0.1 * 0.5 + 0.3 * 0 + 0.6 * 0.2)
    assert found.standard_error == pytest.approx(0.6 * math.sqrt(0.2 * 0.8 / 4))  # the first was seen as a whole
    assert (found.seen, found.size) == (26, 100)


def test_unrelated_adapters_are_at_their_chance_level() -> None:
    """Two signs differ in half of the entries, three are all equal in a quarter."""
    deltas = [random_factors(300, 300, 8, seed) for seed in (1, 2, 3)]
    for count, chance in ((2, 0.5), (3, 0.75)):
        found = sum_conflicts([module_conflict(deltas[:count], drawn())])
        assert abs(found.share - chance) < 4 * found.standard_error


def test_nothing_to_compare() -> None:
    assert sum_conflicts([]) is None

"""What makes rules on dense deltas fast must not change them: the selection is a sort's, the blocks are the whole's."""

import pytest
import torch

from merging.methods import dare_linear, ties
from merging.numerics import selection
from merging.numerics.row_blocks import over_rows, row_blocks, squared_distance, sum_of_magnitudes, sum_of_squares
from merging.numerics.selection import nth_largest_magnitude
from merging.numerics.sparsity import largest_mask
from tests.merging.lora_files import random_factors

LARGE = (640, 1024)  # more entries than a sample, so that sorting is not all there is


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def awkward() -> dict[str, torch.Tensor]:
    """Entries that a sample might be wrong about."""
    columns = noise(1, *LARGE)
    columns[:, ::64] *= 1000  # a sample of every 64th entry would see nothing else
    low_rank = random_factors(*LARGE, 2, seed=3)
    return {
        "normal": noise(0, *LARGE),
        "few values": noise(2, *LARGE).mul(2).round(),
        "mostly zero": noise(4, *LARGE).clamp(min=1.5).sub(1.5),
        "large columns": columns,
        "sorted": noise(5, *LARGE).flatten().sort().values.reshape(LARGE),
        "of low rank": low_rank[0] @ low_rank[1],
        "all equal": torch.full(LARGE, -2.0),
    }


@pytest.mark.parametrize("kind", awkward())
def test_the_nth_largest_is_that_of_a_sort(kind: str) -> None:
    values = awkward()[kind]
    magnitudes = values.abs().flatten().sort(descending=True).values
    size = values.numel()
    for place in (1, 2, size // 1000, size // 3, size // 2, size - 1, size):
        assert nth_largest_magnitude(values, place) == float(magnitudes[place - 1])


def test_a_sample_that_misleads_costs_time_and_not_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    values = noise(0, *LARGE)
    monkeypatch.setattr(selection, "_bracket", lambda entries, place: (9.0, 8.0))
    assert nth_largest_magnitude(values, 1000) == float(values.abs().flatten().sort(descending=True).values[999])


def test_few_entries_are_ever_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_sizes = []
    by_sorting = selection._by_sorting

    def counted(entries: selection.Entries, place: int) -> float:
        sorted_sizes.append(len(entries))
        return by_sorting(entries, place)

    monkeypatch.setattr(selection, "_by_sorting", counted)
    nth_largest_magnitude(noise(0, *LARGE), LARGE[0] * LARGE[1] // 2)
    assert sorted_sizes[0] < 0.04 * LARGE[0] * LARGE[1]  # 6 deviations of a sample of 2^16 on either side are 2.3 %


def test_equals_at_the_edge_all_stay_in_a_large_delta_too() -> None:
    # magnitudes 0, 1, 2, … of a rounded normal: half of the entries are wanted, and the edge is a value of many
    values = noise(2, *LARGE).mul(2).round()
    mask = largest_mask(values, 0.5)
    edge = float(values.abs()[mask].min())
    assert torch.equal(mask, values.abs() >= edge)
    assert int((values.abs() > edge).sum()) < 0.5 * values.numel() < int(mask.sum())


def test_blocks_cover_every_row_once() -> None:
    assert [list(range(7))[block] for block in row_blocks(7, 1 << 15)] == [[0, 1], [2, 3], [4, 5], [6]]
    assert [block.stop for block in row_blocks(2, 1 << 20)] == [1, 2]  # a row longer than a block is a block
    assert list(row_blocks(0, 5)) == []


def test_rules_in_blocks_are_the_rules_on_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    deltas = noise(6, 3, 40, 24)
    settings = {"weights": [0.5, -0.2, 0.7], "density": [0.5, 0.3, 0.9]}

    def results() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        return [ties.merge(deltas, **settings), dare_linear.merge(deltas, generator=generator, **settings)]

    whole = results()
    monkeypatch.setattr("merging.numerics.row_blocks.BLOCK_ENTRIES", 100)  # one row of three adapters
    for in_blocks, at_once in zip(results(), whole, strict=True):
        assert torch.allclose(in_blocks, at_once, atol=1e-6)


def test_sums_over_blocks_by_hand() -> None:
    matrix = torch.tensor([[3.0, -4.0], [0.0, 12.0]])
    assert sum_of_squares(matrix) == 9 + 16 + 144
    assert sum_of_magnitudes(matrix) == 3 + 4 + 12
    b, a = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0]])  # BA = [[3, 4], [6, 8]]: apart by 0, 8, 6, 4
    assert squared_distance(matrix, b, a) == 64 + 36 + 16


def test_the_rule_sees_no_more_than_a_block() -> None:
    seen = []

    def rule(rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows.numel())
        return rows.sum(0)

    deltas = noise(7, 4, *LARGE)
    assert torch.allclose(over_rows(rule, deltas), deltas.sum(0))
    assert (max(seen), sum(seen)) == (1 << 16, deltas.numel())

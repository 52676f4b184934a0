import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merging.spaces.core import core_space
from merging.spaces.shared import anchored
from tests.merging.lora_files import Factors, random_factors, relative_error


def moved_gauge(delta: Factors, seed: int) -> Factors:
    """(B·G, G⁻¹·A): other factors of the same delta."""
    b, a = delta
    gauge = torch.randn(b.shape[1], b.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return b.double() @ gauge, torch.linalg.solve(gauge, a.double())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 9),
    st.integers(2, 9),
    st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(any),
    st.integers(0, 9999),
)
def test_every_delta_lies_in_the_space(rows: int, columns: int, ranks: list[int], seed: int) -> None:
    factors = [random_factors(rows, columns, rank, seed + index) for index, rank in enumerate(ranks)]
    space = core_space(factors)
    for inside, (b, a) in zip(space.deltas, factors, strict=True):
        lifted = space.lift(inside)
        dense = b.double() @ a.double()
        assert float((lifted.left * lifted.values @ lifted.right - dense).norm()) <= 1e-5 * (1 + float(dense.norm()))


def test_neither_gauge_nor_order_moves_the_axes() -> None:
    first, second = random_factors(12, 10, 3, 1), random_factors(12, 10, 2, 2)
    space = core_space([first, second])
    gauged = core_space([moved_gauge(first, 7), moved_gauge(second, 8)])
    swapped = core_space([second, first])
    for other in (gauged, swapped):
        assert torch.allclose(other.rows, space.rows, atol=1e-9)
        assert torch.allclose(other.columns, space.columns, atol=1e-9)


def test_axes_of_the_stacked_factors_would_move_with_the_gauge() -> None:
    # the alternative that core.py argues against: QR of the stacked B
    first, second = random_factors(12, 10, 3, 1), random_factors(12, 10, 2, 2)
    before = torch.linalg.qr(torch.cat([first[0], second[0]], dim=1).double()).Q
    after = torch.linalg.qr(torch.cat([moved_gauge(first, 7)[0], second[0]], dim=1).double()).Q
    assert float((before.abs() - after.abs()).abs().max()) > 0.1


def test_identical_adapters_share_one_space_of_their_rank() -> None:
    delta = random_factors(8, 6, 2, 3)
    space = core_space([delta, delta, delta])
    assert (space.rows.shape, space.columns.shape, space.tied) == ((8, 2), (6, 2), 0)


def test_a_single_adapter_has_its_singular_values_on_the_diagonal() -> None:
    b, a = random_factors(8, 6, 3, 4)
    (core,) = core_space([(b, a)]).deltas
    values = torch.linalg.svdvals(b @ a)[:3]
    assert torch.allclose(core.abs().float(), torch.diag(values), atol=1e-4)


def test_equal_singular_values_are_turned_to_the_coordinates() -> None:
    # two orthogonal deltas of the same size, 2·e₁e₁ᵀ and 2·e₂e₂ᵀ: any rotation of the plane e₁, e₂ is an SVD
    east = 2 * torch.eye(4)[:, :1], torch.eye(4)[:1]
    north = 2 * torch.eye(4)[:, 1:2], torch.eye(4)[1:2]
    for order in ([east, north], [north, east]):
        space = core_space(order)
        assert torch.allclose(space.rows, torch.eye(4, dtype=torch.float64)[:, :2])
        assert space.tied == 4  # two row axes and two column axes


def test_any_rotation_inside_a_group_of_equals_gives_the_same_axes() -> None:
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(9, 3, generator=generator, dtype=torch.float64)).Q
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    values = torch.full((3,), 2.0, dtype=torch.float64)
    turned, turn, tied = anchored(axes, values)
    again, _, _ = anchored(axes @ rotation, values)
    assert tied == 3
    assert torch.allclose(axes @ turn, turned)
    assert torch.allclose(turned, again, atol=1e-12)
    assert relative_error(turned @ turned.T, axes @ axes.T) < 1e-12


def test_zero_deltas_have_an_empty_space() -> None:
    zero = torch.zeros(3, 1), torch.zeros(1, 5)
    space = core_space([zero])
    assert space.rows.shape == (3, 0)
    assert space.lift(space.deltas[0]).rank == 0

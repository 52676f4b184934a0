import pytest
import torch

from merging.diagnosis.alikeness import Alikeness, reduce_module
from tests.merging.lora_files import random_factors

EYE = torch.eye(4)


def alike(*modules: dict[int, tuple[torch.Tensor, torch.Tensor]], count: int = 2) -> Alikeness:
    whole = Alikeness(count)
    for module in modules:
        whole.add(reduce_module(module))
    return whole


def test_overlap_by_hand() -> None:
    """One writes and reads span(e1, e2); the other writes e2 and reads e1 + e3."""
    first = EYE[:, :2], EYE[:2]
    second = EYE[:, 1:2], (EYE[0:1] + EYE[2:3])
    output, read = alike({0: first, 1: second}).overlaps()
    assert output[0][1] == output[1][0] == pytest.approx(1.0)  # e2 lies in span(e1, e2): 1 / min(2, 1)
    assert read[0][1] == pytest.approx(0.5)  # (e1 + e3)/√2 against span(e1, e2): |1/√2|² / min(2, 1)
    assert output[0][0] == output[1][1] == 1.0


def test_overlap_weighs_modules_by_the_smaller_space() -> None:
    same = EYE[:, :2], EYE[:2]
    apart = EYE[:, :1], EYE[:1]
    other = EYE[:, 3:], EYE[3:]
    output, _ = alike({0: same, 1: same}, {0: apart, 1: other}).overlaps()
    assert output[0][1] == pytest.approx(2 / 3)  # (2 + 0) / (2 + 1)


def test_modules_that_only_one_touches_do_not_count_in_the_overlap_but_in_the_cosine() -> None:
    same = EYE[:, :1], EYE[:1]
    whole = alike({0: same, 1: same}, {0: same})
    assert whole.overlaps()[0][0][1] == pytest.approx(1.0)
    assert whole.cosines()[0][1] == pytest.approx(1 / 2**0.5)  # <D, D> / (|D|√2 · |D|)


def test_neither_the_gauge_nor_the_rank_as_written_matters() -> None:
    """(B·G, G⁻¹·A) and a column of zeros beside it are the same delta."""
    first, (b, a) = random_factors(7, 5, 2, 1), random_factors(7, 5, 2, 2)
    gauge = torch.tensor([[2.0, 1.0], [0.0, 0.5]])
    other = torch.cat([b @ gauge, torch.zeros(7, 1)], 1), torch.cat([torch.linalg.inv(gauge) @ a, torch.ones(1, 5)])
    plain, turned = (alike({0: first, 1: each}) for each in ((b, a), other))
    for before, after in zip(plain.overlaps(), turned.overlaps(), strict=True):
        assert after[0][1] == pytest.approx(before[0][1], abs=1e-6)
    assert turned.cosines()[0][1] == pytest.approx(plain.cosines()[0][1], abs=1e-6)


def test_overlap_against_dense_singular_vectors() -> None:
    factors = {index: random_factors(9, 6, rank, index + 3) for index, rank in enumerate((1, 2, 3))}
    output, read = alike(factors, count=3).overlaps()
    bases = {}
    for index, (b, a) in factors.items():
        u, _, v = torch.linalg.svd((b @ a).double())
        bases[index] = u[:, : index + 1], v[: index + 1].T
    for i, j in ((0, 1), (0, 2), (1, 2)):
        for found, place in ((output, 0), (read, 1)):
            wanted = (bases[i][place].T @ bases[j][place]).square().sum() / (i + 1)
            assert found[i][j] == pytest.approx(float(wanted), rel=1e-5)


def test_adapters_that_never_meet_have_overlap_and_cosine_zero() -> None:
    same = EYE[:, :1], EYE[:1]
    whole = alike({0: same}, {1: same})
    assert whole.overlaps() == (((1.0, 0.0), (0.0, 1.0)),) * 2
    assert whole.cosines() == ((1.0, 0.0), (0.0, 1.0))


def test_a_zero_adapter_is_like_nothing() -> None:
    zero = torch.zeros(4, 1), torch.ones(1, 4)
    whole = alike({0: (EYE[:, :1], EYE[:1]), 1: zero})
    assert (whole.cosines()[0][1], whole.overlaps()[0][0][1], whole.overlaps()[1][0][1]) == (0.0, 0.0, 0.0)

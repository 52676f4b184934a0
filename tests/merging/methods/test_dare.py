import torch

from merging.methods import dare_linear, dare_ties


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def masks(shape: tuple[int, ...], density: list[float], seed: int) -> list[torch.Tensor]:
    """What the generator draws, adapter after adapter."""
    generator = seeded(seed)
    return [torch.rand(shape, generator=generator) < share for share in density]


def test_the_paper_divides_by_the_density() -> None:
    deltas = torch.tensor([[[1.0, 2.0, 3.0, 4.0]], [[8.0, 6.0, 4.0, 2.0]]])
    first, second = masks((1, 4), [0.5, 0.25], seed=1)
    merged = dare_linear.merge_paper(deltas, weights=[1.0, -1.0], generator=seeded(1), density=[0.5, 0.25])
    assert torch.allclose(merged, deltas[0] * first / 0.5 - deltas[1] * second / 0.25)


def test_mergekit_restores_the_sum_of_magnitudes() -> None:
    delta = torch.tensor([[[1.0, -2.0, 3.0, 4.0, -5.0, 6.0]]])
    (mask,) = masks((1, 6), [0.4], seed=4)
    merged = dare_linear.merge(delta, weights=[1.0], generator=seeded(4), density=[0.4])
    kept = delta[0] * mask
    assert torch.allclose(merged, kept * 21.0 / kept.abs().sum())
    assert 0 < int(mask.sum()) < 6


def test_both_factors_have_the_same_expectation() -> None:
    delta = torch.randn(1, 60, 60, generator=seeded(5)).abs()
    total = {rule: torch.zeros(60, 60) for rule in ("merge", "merge_paper")}
    for seed in range(200):
        for rule in total:
            total[rule] += getattr(dare_linear, rule)(delta, weights=[1.0], generator=seeded(seed), density=[0.5])
    for mean in (each / 200 for each in total.values()):  # the mean of 200 draws moves by 1/√200 = 7 % of an entry
        assert float((mean - delta[0]).norm() / delta.norm()) < 0.09
        assert abs(float(mean.sum() / delta.sum()) - 1) < 0.01


def test_at_full_density_nothing_is_random() -> None:
    deltas = torch.tensor([[[1.0, -2.0]], [[3.0, 5.0]]])
    summed = dare_linear.merge(deltas, weights=[2.0, 1.0], generator=seeded(), density=[1.0, 1.0], lambda_=0.5)
    assert summed.tolist() == [[2.5, 0.5]]  # (2·1 + 3)/2, (2·(-2) + 5)/2
    # weighted [2, -4], [3, 5]: totals 5, 1 -> +, +; the -4 disagrees
    elected = dare_ties.merge(deltas, weights=[2.0, 1.0], generator=seeded(), density=[1.0, 1.0])
    assert elected.tolist() == [[5.0, 5.0]]
    # unweighted totals 4, 3 -> +, +; weighted values of those that agree: 2·1 + 3, 5
    paper = dare_ties.merge_paper(deltas, weights=[2.0, 1.0], generator=seeded(), density=[1.0, 1.0])
    assert paper.tolist() == [[5.0, 5.0]]
    mean = dare_ties.merge_paper(deltas, weights=[2.0, 1.0], generator=seeded(), density=[1.0, 1.0], normalize=True)
    assert mean.tolist() == [[2.5, 5.0]]


def test_one_seed_one_result() -> None:
    deltas = torch.randn(2, 8, 8, generator=seeded(9))
    for module in (dare_linear, dare_ties):
        first = module.merge(deltas, weights=[1.0, 1.0], generator=seeded(1), density=[0.5, 0.5])
        again = module.merge(deltas, weights=[1.0, 1.0], generator=seeded(1), density=[0.5, 0.5])
        other = module.merge(deltas, weights=[1.0, 1.0], generator=seeded(2), density=[0.5, 0.5])
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

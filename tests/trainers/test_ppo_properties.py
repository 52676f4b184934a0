"""GAE and the clipped losses against an oracle: plain Python loops in float64, written from the definitions."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.ppo_advantages import advantages_and_returns, shaped_rewards, whiten
from trainers.ppo_losses import policy_losses, value_losses

numbers = st.floats(-5, 5, width=32)
shares = st.floats(0, 1)


@st.composite
def batches(draw: st.DrawFn, tables: int) -> tuple[list[int], list[list[list[float]]]]:
    """Lengths of some answers, and tables of numbers (answers x longest) with rubbish behind each end."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    row = st.lists(numbers, min_size=max(lengths), max_size=max(lengths))
    table = st.lists(row, min_size=len(lengths), max_size=len(lengths))
    return lengths, [draw(table) for _ in range(tables)]


def tensor(table: list[list[float]]) -> torch.Tensor:
    return torch.tensor(table, dtype=torch.float64)


def mask_of(lengths: list[int]) -> torch.Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@settings(max_examples=60, deadline=None)
@given(batches(2), shares, shares)
def test_advantages_are_the_discounted_sum_of_all_later_errors(
    batch: tuple[list[int], list[list[list[float]]]], gamma: float, lam: float
) -> None:
    """A_t = Σ_l (γλ)^l δ_{t+l} (1506.02438, equation 16), summed forwards for each token, not by the recursion."""
    lengths, (rewards, values) = batch
    is_valid = mask_of(lengths)
    masked_rewards = torch.where(is_valid, tensor(rewards), 0.0)
    advantages, returns = advantages_and_returns(masked_rewards, tensor(values), is_valid, gamma=gamma, lam=lam)
    for row, length in enumerate(lengths):
        for t in range(max(lengths)):
            expected = 0.0
            for later in range(t, length):
                following = values[row][later + 1] if later + 1 < length else 0.0
                delta = rewards[row][later] + gamma * following - values[row][later]
                expected += (gamma * lam) ** (later - t) * delta
            assert math.isclose(float(advantages[row, t]), expected, abs_tol=1e-9)
            value = values[row][t] if t < length else 0.0
            assert math.isclose(float(returns[row, t]), expected + value, abs_tol=1e-9)


@settings(max_examples=60, deadline=None)
@given(batches(3), st.floats(0.01, 0.9))
def test_the_policy_loss_is_the_worse_of_two(
    batch: tuple[list[int], list[list[list[float]]]], clip_range: float
) -> None:
    _, (logps, old_logps, advantages) = batch
    losses, is_clipped = policy_losses(tensor(logps), tensor(old_logps), tensor(advantages), clip_range)
    for row, line in enumerate(logps):
        for t, logp in enumerate(line):
            ratio, advantage = math.exp(logp - old_logps[row][t]), advantages[row][t]
            kept = min(max(ratio, 1 - clip_range), 1 + clip_range)
            assert math.isclose(float(losses[row, t]), max(-advantage * ratio, -advantage * kept), abs_tol=1e-9)
            gains = (ratio > 1 + clip_range and advantage > 0) or (ratio < 1 - clip_range and advantage < 0)
            if abs(advantage) > 1e-6 and abs(kept - ratio) > 1e-6:
                assert bool(is_clipped[row, t]) == gains


@settings(max_examples=60, deadline=None)
@given(batches(3), st.floats(0.01, 2))
def test_the_value_loss_is_half_the_larger_squared_error(
    batch: tuple[list[int], list[list[list[float]]]], clip_range: float
) -> None:
    _, (values, old_values, returns) = batch
    losses, _ = value_losses(tensor(values), tensor(old_values), tensor(returns), clip_range)
    for row, line in enumerate(values):
        for t, value in enumerate(line):
            old, target = old_values[row][t], returns[row][t]
            near = min(max(value, old - clip_range), old + clip_range)
            expected = 0.5 * max((value - target) ** 2, (near - target) ** 2)
            assert math.isclose(float(losses[row, t]), expected, abs_tol=1e-9)


@settings(max_examples=40, deadline=None)
@given(batches(1), st.floats(0, 2))
def test_the_rewards_of_an_answer_add_up_to_its_score_less_the_price(
    batch: tuple[list[int], list[list[list[float]]]], kl_coef: float
) -> None:
    lengths, (kl,) = batch
    scores = torch.arange(len(lengths), dtype=torch.float64)
    rewards = shaped_rewards(scores, tensor(kl), mask_of(lengths), kl_coef)
    for row, length in enumerate(lengths):
        expected = row - kl_coef * math.fsum(kl[row][:length])
        assert math.isclose(float(rewards[row].sum()), expected, abs_tol=1e-9)
        assert rewards[row, length:].abs().sum() == 0


@settings(max_examples=40, deadline=None)
@given(batches(1))
def test_whitened_numbers_have_mean_0_and_variance_1(batch: tuple[list[int], list[list[list[float]]]]) -> None:
    lengths, (table,) = batch
    whitened = whiten(tensor(table), mask_of(lengths))
    kept = [table[row][t] for row, length in enumerate(lengths) for t in range(length)]
    mean = math.fsum(kept) / len(kept)
    variance = math.fsum((each - mean) ** 2 for each in kept) / len(kept)
    got = [float(whitened[row, t]) for row, length in enumerate(lengths) for t in range(length)]
    for before, after in zip(kept, got, strict=True):
        assert math.isclose(after, (before - mean) / math.sqrt(variance + 1e-8), abs_tol=1e-6)

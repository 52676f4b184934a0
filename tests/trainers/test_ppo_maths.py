"""PPO's maths against numbers worked out by hand; the arithmetic stands beside them."""

import math

import pytest
import torch

from trainers.ppo_advantages import (
    advantages_and_returns,
    last_valid,
    masked_mean,
    shaped_rewards,
    valid_tokens,
    whiten,
)
from trainers.ppo_kl import AdaptiveKL, kl_k1, kl_k3
from trainers.ppo_losses import approximate_kl, explained_variance, policy_losses, value_losses
from trainers.ppo_scores import RunningScores, charge_missing_end, clipped_scores

ALL = torch.tensor([[True, True, True]])


def test_kl_estimators_of_one_token() -> None:
    """Policy 0.5, reference 0.25: r = 0.5, k1 = log 2 = 0.6931, k3 = (0.5 - 1) + log 2 = 0.1931."""
    policy, reference = torch.tensor([[math.log(0.5)]]), torch.tensor([[math.log(0.25)]])
    assert kl_k1(policy, reference).item() == pytest.approx(0.6931472, abs=1e-6)
    assert kl_k3(policy, reference).item() == pytest.approx(0.1931472, abs=1e-6)
    assert kl_k1(reference, policy).item() == pytest.approx(-0.6931472, abs=1e-6)  # k1 can be negative
    assert kl_k3(reference, policy).item() == pytest.approx(2 - 1 - 0.6931472, abs=1e-6)  # k3 cannot


def test_both_estimators_have_the_kl_as_their_mean() -> None:
    """p = (0.7, 0.3), q = (0.4, 0.6): KL = 0.7 log(0.7 / 0.4) + 0.3 log(0.3 / 0.6) = 0.39173 - 0.20794 = 0.18379."""
    p, q = torch.tensor([[0.7, 0.3]], dtype=torch.float64), torch.tensor([[0.4, 0.6]], dtype=torch.float64)
    for estimate in (kl_k1, kl_k3):
        assert (p * estimate(p.log(), q.log())).sum().item() == pytest.approx(0.18379, abs=1e-5)


def test_the_adaptive_coefficient_moves_by_two_percent_at_most() -> None:
    controller = AdaptiveKL(coef=0.1, target=6.0)
    controller.update(12.0)  # e = clip((12 - 6) / 6, ±0.2) = 0.2: 0.1 · (1 + 0.1 · 0.2)
    assert controller.coef == pytest.approx(0.102)
    controller.update(0.0)  # e = -0.2: 0.102 · 0.98
    assert controller.coef == pytest.approx(0.09996)
    controller.update(6.6)  # e = 0.1: 0.09996 · 1.01
    assert controller.coef == pytest.approx(0.1009596)


def test_tokens_count_up_to_the_first_end() -> None:
    tokens = torch.tensor([[5, 9, 7, 9], [5, 6, 7, 8], [3, 3, 9, 9]])
    is_valid, has_end = valid_tokens(tokens, frozenset({9, 3}))
    assert is_valid.tolist() == [[True, True, False, False], [True] * 4, [True, False, False, False]]
    assert has_end.tolist() == [True, False, True]
    assert last_valid(is_valid).tolist() == [1, 3, 0]


def test_the_score_stands_at_the_last_token_and_every_token_pays_for_its_kl() -> None:
    kl = torch.tensor([[1.0, 2.0, 9.0], [0.5, 0.0, -1.0]])
    is_valid = torch.tensor([[True, True, False], [True, True, True]])
    rewards = shaped_rewards(torch.tensor([3.0, -1.0]), kl, is_valid, kl_coef=0.1)
    # -0.1 · 1; -0.1 · 2 + 3; nothing behind the end | -0.1 · 0.5; 0; 0.1 · 1 - 1
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 2.8, 0.0], [-0.05, 0.0, -0.9]]))


def test_advantages_of_three_tokens() -> None:
    """γ = 0.9, λ = 0.5, rewards (0, 0, 1), values (0.5, 0.4, 0.2).

    δ2 = 1 - 0.2 = 0.8; δ1 = 0.9 · 0.2 - 0.4 = -0.22; δ0 = 0.9 · 0.4 - 0.5 = -0.14
    A2 = 0.8; A1 = -0.22 + 0.45 · 0.8 = 0.14; A0 = -0.14 + 0.45 · 0.14 = -0.077
    """
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.4, 0.2]])
    advantages, returns = advantages_and_returns(rewards, values, ALL, gamma=0.9, lam=0.5)
    torch.testing.assert_close(advantages, torch.tensor([[-0.077, 0.14, 0.8]]))
    torch.testing.assert_close(returns, torch.tensor([[0.423, 0.54, 1.0]]))


def test_what_stands_behind_the_end_changes_nothing() -> None:
    rewards, values = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.5, 0.4, 77.0]])
    is_valid = torch.tensor([[True, True, False]])
    advantages, returns = advantages_and_returns(rewards, values, is_valid, gamma=1.0, lam=1.0)
    # with γ = λ = 1 the return is the sum of the rewards to come: 1 at both tokens
    torch.testing.assert_close(returns, torch.tensor([[1.0, 1.0, 0.0]]))
    torch.testing.assert_close(advantages, torch.tensor([[0.5, 0.6, 0.0]]))


def test_whitening_looks_at_valid_tokens_only() -> None:
    numbers, is_valid = torch.tensor([[1.0, 3.0, 100.0]]), torch.tensor([[True, True, False]])
    # mean 2, population variance 1
    torch.testing.assert_close(whiten(numbers, is_valid), torch.tensor([[-1.0, 1.0, 0.0]]))
    torch.testing.assert_close(whiten(numbers, is_valid, keep_mean=True), torch.tensor([[1.0, 3.0, 0.0]]))
    assert masked_mean(numbers, is_valid).item() == 2.0


def test_the_policy_loss_inside_and_outside_the_clip() -> None:
    """c = 0.2. Ratios 1.1, 1.5 and 0.5 with A = 2: -2.2; clipped at 1.2: -2.4; -1.0 (the worse one stays).

    With A = -2: 2.2; 3.0; clipped at 0.8: 1.6.
    """
    ratios = torch.tensor([[1.1, 1.5, 0.5]])
    old = torch.full((1, 3), -1.0)
    losses, is_clipped = policy_losses(old + ratios.log(), old, torch.full((1, 3), 2.0), 0.2)
    torch.testing.assert_close(losses, torch.tensor([[-2.2, -2.4, -1.0]]))
    assert is_clipped.tolist() == [[False, True, False]]
    losses, is_clipped = policy_losses(old + ratios.log(), old, torch.full((1, 3), -2.0), 0.2)
    torch.testing.assert_close(losses, torch.tensor([[2.2, 3.0, 1.6]]))
    assert is_clipped.tolist() == [[False, False, True]]


def test_a_clipped_token_has_no_gradient_and_another_has_minus_its_advantage() -> None:
    """At ratio 1, d loss / d logp = -A; beyond the clip on the good side it is 0."""
    logps = torch.tensor([[-1.0, -0.5]], requires_grad=True)
    losses, _ = policy_losses(logps, torch.tensor([[-1.0, -1.0]]), torch.tensor([[0.7, 0.7]]), 0.2)
    losses.sum().backward()
    torch.testing.assert_close(logps.grad, torch.tensor([[-0.7, 0.0]]))


def test_the_value_loss_takes_the_larger_error() -> None:
    """Old 0, c = 0.2, R = 1: V = 0.1 gives ½ 0.9² = 0.405; V = 0.8 counts as 0.2: ½ 0.8² = 0.32; V = -0.5: ½ 1.5²."""
    values = torch.tensor([[0.1, 0.8, -0.5]])
    losses, is_clipped = value_losses(values, torch.zeros(1, 3), torch.ones(1, 3), 0.2)
    torch.testing.assert_close(losses, torch.tensor([[0.405, 0.32, 1.125]]))
    assert is_clipped.tolist() == [[False, True, False]]


def test_approximate_kl_and_explained_variance() -> None:
    is_valid = torch.tensor([[True, True, False]])
    moved = approximate_kl(torch.tensor([[-1.0, -1.2, 5.0]]), torch.tensor([[-1.1, -1.0, 0.0]]), is_valid)
    assert moved.item() == pytest.approx(0.5 * (0.1**2 + 0.2**2) / 2)
    # returns 1 and 3 (variance 1), errors 0.5 and -0.5 (variance 0.25)
    values, returns = torch.tensor([[0.5, 3.5, 9.0]]), torch.tensor([[1.0, 3.0, 0.0]])
    assert explained_variance(values, returns, is_valid).item() == pytest.approx(0.75)
    assert explained_variance(returns, returns, is_valid).item() == 1.0
    assert explained_variance(values, torch.ones(1, 3), is_valid).item() == 0.0  # nothing to explain


def test_running_scores_are_those_of_all_batches_together() -> None:
    running = RunningScores()
    running.add(torch.tensor([1.0, 2.0]))
    running.add(torch.tensor([6.0]))
    # 1, 2, 6: mean 3, population variance (4 + 1 + 9) / 3
    assert (running.count, running.mean) == (3, pytest.approx(3.0))
    assert running.deviation == pytest.approx(math.sqrt(14 / 3))
    assert running.normalised(torch.tensor([3.0, 6.0])).tolist() == pytest.approx([0.0, 3 / math.sqrt(14 / 3)])


def test_scores_are_clipped_and_charged_for_a_missing_end() -> None:
    scores = torch.tensor([2.0, -3.0, 0.5])
    assert clipped_scores(scores, None).tolist() == [2.0, -3.0, 0.5]
    assert clipped_scores(scores, 1.0).tolist() == [1.0, -1.0, 0.5]
    has_end = torch.tensor([True, False, False])
    assert charge_missing_end(scores, has_end, 1.0).tolist() == [2.0, -4.0, -0.5]
    assert charge_missing_end(scores, has_end, None).tolist() == [2.0, -3.0, 0.5]

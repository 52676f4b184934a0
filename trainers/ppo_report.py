"""The numbers of an update under the names the field gives them, and the warnings that a person needs.

Names and meanings as in TRL's PPO trainer; where ours means something else it says so.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean

import torch

from trainers.ppo_experience import Experience
from trainers.ppo_losses import explained_variance
from trainers.ppo_update import StepOutcome

WINDOW = 5  # updates that are taken together when a trend is judged
KEPT = ("objective/scores", "objective/gold", "gold_error", "objective/kl", "eos_rate")


def update_metrics(
    experience: Experience,
    scores_N: torch.Tensor,
    gold_N: torch.Tensor | None,
    outcomes: Sequence[StepOutcome],
    *,
    kl_coef: float,
    learning_rate: float,
) -> dict[str, float]:
    """The metrics of one update.

    `objective/scores` is the plain reward, before normalising, clipping and penalty; `objective/rlhf_reward` has all
    of them and the price of the KL. `objective/entropy` is the mean over tokens of the exact entropy, where TRL takes
    the drawn tokens' surprise.
    """
    rollout = experience.rollout
    lengths_N = rollout.is_valid_NR.sum(dim=1).float()
    metrics = {
        "objective/scores": float(scores_N.mean()),
        "objective/kl": float(experience.kl_N.mean()),
        "objective/non_score_reward": float(experience.non_score_N.mean()),
        "objective/rlhf_reward": float((experience.non_score_N + experience.final_scores_N).mean()),
        "objective/entropy": experience.entropy,
        "val/explained_variance": float(
            explained_variance(experience.values_NR, experience.returns_NR, rollout.is_valid_NR)
        ),
        "response_length": float(lengths_N.mean()),
        "eos_rate": float(rollout.has_end_N.float().mean()),
        "distinct_1": distinct(rollout.answers, 1),
        "distinct_2": distinct(rollout.answers, 2),
        "kl_coef": kl_coef,
        "lr": learning_rate,
        **_step_metrics(outcomes),
    }
    if gold_N is not None:
        metrics["objective/gold"] = float(gold_N.mean())
    return {name: round(number, 6) if abs(number) >= 1e-3 else number for name, number in metrics.items()}


def _step_metrics(outcomes: Sequence[StepOutcome]) -> dict[str, float]:
    """Means over the steps; none where the run ended before it learned from the batch."""
    if not outcomes:
        return {}
    return {
        "loss/policy": fmean(each.policy_loss for each in outcomes),
        "loss/value": fmean(each.value_loss for each in outcomes),
        "policy/approxkl": fmean(each.approxkl for each in outcomes),
        "policy/clipfrac": fmean(each.clipfrac for each in outcomes),
        "val/clipfrac": fmean(each.value_clipfrac for each in outcomes),
        "val/ratio": fmean(each.ratio for each in outcomes),
        "val/ratio_first": outcomes[0].ratio,
    }


def distinct(answers: Sequence[str], size: int) -> float:
    """Different runs of `size` words over all of them in the batch (Li et al. 2016, 1510.03055); 1 where there is none.

    Low values mean that the answers say the same, each of itself or all of them alike.
    """
    runs: list[tuple[str, ...]] = []
    for answer in answers:
        words = answer.lower().split()
        runs += [(word,) for word in words] if size == 1 else list(pairwise(words))
    return len(set(runs)) / len(runs) if runs else 1.0


def kept_numbers(metrics: Mapping[str, float], gold_N: torch.Tensor | None) -> dict[str, float]:
    """What the run remembers of an update; `gold_error` is the standard error of its mean gold score."""
    numbers = dict(metrics)
    if gold_N is not None and len(gold_N) > 1:
        numbers["gold_error"] = float(gold_N.std()) / math.sqrt(len(gold_N))
    return {name: numbers[name] for name in KEPT if name in numbers}


def find_warnings(history: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Bad trends in what the run remembers, each with a sentence: "hacking" and "eos"."""
    found: dict[str, str] = {}
    if len(history) < 2 * WINDOW:
        return found
    ends = [_mean(history[-WINDOW:], name) for name in ("objective/scores", "objective/gold", "eos_rate")]
    scores, gold, eos_rate = ends
    windows = [history[start : start + WINDOW] for start in range(len(history) - WINDOW)]
    if gold is not None:
        peak = max(windows, key=lambda window: _mean(window, "objective/gold") or 0.0)
        peak_gold, peak_scores = _mean(peak, "objective/gold"), _mean(peak, "objective/scores")
        noise = 2 * math.hypot(_error(peak), _error(history[-WINDOW:]))
        if scores > peak_scores and gold < peak_gold - noise:
            found["hacking"] = (
                f"The reward is being gamed: it rose from {peak_scores:.2f} to {scores:.2f} while the gold reward fell "
                f"from {peak_gold:.2f} to {gold:.2f}. Raise kl_coef, or stop earlier."
            )
    first_eos = _mean(history[:WINDOW], "eos_rate")
    if first_eos >= 0.2 and eos_rate < first_eos / 2:
        found["eos"] = (
            f"Answers stop ending by themselves: {first_eos:.0%} did at first, {eos_rate:.0%} do now. "
            f"Set missing_eos_penalty, or raise max_new_tokens."
        )
    return found


def _mean(window: Sequence[Mapping[str, float]], name: str) -> float | None:
    return fmean(each[name] for each in window) if all(name in each for each in window) else None


def _error(window: Sequence[Mapping[str, float]]) -> float:
    """Standard error of the window's mean gold score."""
    return math.sqrt(sum(each.get("gold_error", 0.0) ** 2 for each in window)) / len(window)


def final_metrics(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a finished run is known by: means over its first and its last updates."""
    if not history:
        return {}
    names = {"scores": "objective/scores", "gold": "objective/gold", "kl": "objective/kl", "eos_rate": "eos_rate"}
    metrics = {}
    for short, name in names.items():
        before, after = _mean(history[:WINDOW], name), _mean(history[-WINDOW:], name)
        if before is not None and after is not None:
            metrics |= {f"{short}_before": round(before, 6), short: round(after, 6)}
    return metrics

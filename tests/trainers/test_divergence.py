"""The KL to the reference, exact at a position and summed over sampled answers; and the warning of falling answers."""

import contextlib
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerControl, TrainerState

from medley.lm.load import load_base
from medley.lm.prompts import prompt_ids
from tests.trainers.preference_rows import FAST, WORDS, adapter_digest, collect, pair, runner, write_dataset
from trainers import DPOOptions, TrainWork
from trainers.displacement import DisplacementWatch
from trainers.divergence import position_kl, sample_answers, sampled_divergence, summary
from trainers.reference import as_reference, attach_policy

LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=6)


def test_a_kl_by_hand() -> None:
    """p = (3/4, 1/4) and q = (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2) = 0.3041 - 0.1733 = 0.1308."""
    policy_TV = torch.tensor([[math.log(3.0), 0.0], [5.0, 5.0]])
    reference_TV = torch.tensor([[7.0, 7.0], [1.0, 1.0]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    torch.testing.assert_close(position_kl(policy_TV, reference_TV), torch.tensor([expected, 0.0]))
    assert expected == pytest.approx(0.1308, abs=1e-4)
    swapped = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)  # it is not symmetric
    torch.testing.assert_close(position_kl(reference_TV, policy_TV), torch.tensor([swapped, 0.0]))


@given(st.tuples(LOGITS, LOGITS))
def test_it_agrees_with_a_loop_in_float64_and_is_never_negative(logits: tuple[list[float], list[float]]) -> None:
    size = min(map(len, logits))
    policy, reference = (row[:size] for row in logits)
    totals = [math.log(math.fsum(math.exp(each) for each in row)) for row in (policy, reference)]
    expected = math.fsum(
        math.exp(a - totals[0]) * ((a - totals[0]) - (b - totals[1])) for a, b in zip(policy, reference, strict=True)
    )
    found = float(position_kl(torch.tensor([policy]), torch.tensor([reference])))
    assert found >= 0
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_summary_by_hand() -> None:
    """Answers of 1 + 2 + 3 and of 2 nats: mean 4, standard error (6 - 2)/sqrt(2)/sqrt(2) = 2, by token 8/4 = 2."""
    found = summary([torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0])])
    assert found == pytest.approx({"kl/sequence": 4.0, "kl/sequence_se": 2.0, "kl/token": 2.0, "kl/samples": 2})
    assert summary([torch.tensor([1.5, 0.5])]) == {"kl/sequence": 2.0, "kl/token": 1.0, "kl/samples": 1}


@pytest.fixture
def measured(tiny_base: Path, make_adapter: Callable[..., Path]) -> Callable[..., dict[str, float]]:
    """measured(seed, is_own_reference) measures a random adapter against the base, or against itself."""
    base = load_base(tiny_base, device="cpu")
    asked = [prompt_ids(base.tokenizer, pair(word)["prompt"]) for word in WORDS[:3]]
    policy = attach_policy(base.model, DPOOptions(), make_adapter("policy", scale=0.3))

    def measure(seed: int = 1, *, is_own_reference: bool = False, samples: int = 10) -> dict[str, float]:
        return sampled_divergence(
            policy,
            base.tokenizer,
            asked,
            as_reference=contextlib.nullcontext if is_own_reference else partial(as_reference, policy),
            samples=samples,
            max_new_tokens=6,
            seed=seed,
        )

    measure.policy, measure.tokenizer, measure.asked = policy, base.tokenizer, asked
    return measure


def test_a_policy_is_no_distance_from_itself(measured: Callable[..., dict[str, float]]) -> None:
    found = measured(is_own_reference=True)
    assert (found["kl/sequence"], found["kl/token"], found["kl/samples"]) == (0.0, 0.0, 10)
    assert found["length/before"] == found["length/after"]


def test_same_seed_same_number_and_the_generators_are_left_alone(measured: Callable[..., dict[str, float]]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = measured(seed=1)
    torch.testing.assert_close(torch.rand(3), expected)
    assert measured(seed=1) == first
    assert measured(seed=2)["kl/sequence"] != first["kl/sequence"]
    assert first["kl/sequence"] > 0.05
    assert first["kl/sequence"] / first["kl/token"] == pytest.approx(first["length/after"])


def test_the_sampled_kl_is_that_of_the_sampled_texts(measured: Callable[..., dict[str, float]]) -> None:
    """Answer by answer and position by position, with whole forward passes and no batch."""
    policy, tokenizer, asked = measured.policy, measured.tokenizer, measured.asked
    answers = sample_answers(policy, tokenizer, asked, max_new_tokens=6, seed=1)
    assert [answer.prompt_ids for answer in answers] == asked
    totals = []
    for answer in answers:
        ids = torch.tensor([answer.prompt_ids + answer.answer_ids])
        with torch.no_grad():
            p_TV = policy(ids).logits[0].double().softmax(-1)
            with policy.disable_adapter():
                q_TV = policy(ids).logits[0].double().softmax(-1)
        positions = range(len(answer.prompt_ids) - 1, ids.shape[1] - 1)
        totals.append(sum(float((p_TV[t] * (p_TV[t] / q_TV[t]).log()).sum()) for t in positions))
    found = measured(seed=1, samples=3)
    assert found["kl/sequence"] == pytest.approx(sum(totals) / 3, rel=1e-3)


def watch(steps: list[dict[str, float]], *, beta: float, has_eval: bool) -> list[tuple[int, str]]:
    """What the watch warns of, by step."""
    warned: list[tuple[int, str]] = []
    work = TrainWork(
        Path(), "base", Path(), Path(), emit=lambda kind, **fields: warned.append((fields["step"], fields["text"]))
    )
    callback, state = DisplacementWatch(work, beta=beta, has_eval=has_eval), TrainerState()
    for number, logs in enumerate(steps, start=1):
        state.global_step = number
        callback.on_log(None, state, TrainerControl(), logs=logs)
    return warned


def test_both_falling_by_more_than_a_nat_is_told_once() -> None:
    both = {"eval_rewards/chosen": -0.15, "eval_rewards/rejected": -0.5}  # at beta 0.1: -1.5 and -5 nats
    warned = watch([{"eval_rewards/chosen": 0.0, "eval_rewards/rejected": 0.0}, both, both], beta=0.1, has_eval=True)
    assert warned == [
        (
            2,
            "Chosen and rejected answers both become less likely: their log-probability changed by -1.5 and -5.0 nats "
            "against the reference, on the eval rows. The model may learn to say something that is in neither. "
            "Try a higher beta, a lower learning_rate or fewer epochs.",
        )
    ]


@pytest.mark.parametrize(
    ("chosen", "rejected", "beta"),
    [(0.2, -0.5, 0.1), (-0.5, 0.2, 0.1), (-0.09, -0.5, 0.1), (-0.15, -0.5, 0.2)],
    ids=["chosen-rises", "rejected-rises", "less-than-a-nat", "less-than-a-nat-at-this-beta"],
)
def test_anything_else_is_not_told(chosen: float, rejected: float, beta: float) -> None:
    logs = {"eval_rewards/chosen": chosen, "eval_rewards/rejected": rejected}
    assert watch([logs] * 5, beta=beta, has_eval=True) == []


def test_without_eval_rows_ten_steps_count_and_not_one() -> None:
    falling = {"rewards/chosen": -0.3, "rewards/rejected": -0.3}
    assert watch([falling] * 9, beta=0.1, has_eval=False) == []
    assert [step for step, _ in watch([falling] * 12, beta=0.1, has_eval=False)] == [10]
    level = {"rewards/chosen": 0.2, "rewards/rejected": 0.2}
    assert watch([falling, level] * 10, beta=0.1, has_eval=False) == []


def test_a_training_that_displaces_its_answers_warns(tiny_base: Path, tmp_path: Path) -> None:
    """apo_down pushes down both answers by design; sigmoid on the same rows does not."""
    rows = [pair(word) for word in WORDS]
    data = write_dataset(tmp_path / "pairs", rows[:8], rows[8:])
    run = runner("dpo", tiny_base, data, tmp_path)
    found = {}
    for loss in ("apo_down", "sigmoid"):
        events: list[dict[str, Any]] = []
        options = DPOOptions(max_steps=12, learning_rate=2e-2, loss=loss, beta=1.0, eval_every=4, **FAST)
        run(loss, options, emit=collect(events))
        found[loss] = [event["step"] for event in events if "both become less likely" in event.get("text", "")]
    assert len(found["apo_down"]) == 1
    assert found["sigmoid"] == []


def test_measuring_changes_nothing_that_is_saved(tiny_base: Path, tmp_path: Path) -> None:
    rows = [pair(word) for word in WORDS]
    run = runner("dpo", tiny_base, write_dataset(tmp_path / "pairs", rows[:8], []), tmp_path)
    without = run("without", DPOOptions(max_steps=2, **FAST))
    events: list[dict[str, Any]] = []
    options = DPOOptions(max_steps=2, **{**FAST, "kl_samples": 3, "kl_tokens": 5})
    measured = run("measured", options, emit=collect(events))
    assert adapter_digest(measured) == adapter_digest(without)
    assert "There are no eval rows: the KL to the reference is measured on training prompts." in [
        event.get("text") for event in events
    ]
    assert measured.metrics["length/after"] <= 5
    assert not {"kl/sequence", "length/after"} & set(without.metrics)

"""PPO end to end on a tiny model: what it learns, what it leaves alone, what it tells."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medley.errors import IncompatibleError
from medley.lm.adapter_file import file_sha256, open_adapter
from medley.options import from_mapping
from tests.tiny_model import TINY_BASE_ID, write_tiny_base
from tests.trainers.test_ppo_parts import write_reward_adapter
from tests.trainers.test_sft import adapter_digest, collect
from trainers import TRAINERS, TrainResult
from trainers.ppo_options import PPOOptions

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
RunPPO = Callable[..., TrainResult]
METRICS = {
    *("objective/scores", "objective/kl", "objective/non_score_reward", "objective/rlhf_reward", "objective/entropy"),
    *("loss/policy", "loss/value", "policy/approxkl", "policy/clipfrac", "val/clipfrac", "val/ratio"),
    *("val/ratio_first", "val/explained_variance", "response_length", "eos_rate", "distinct_1", "distinct_2"),
    *("kl_coef", "lr"),
}
# a random model's words are nearly alike; at a low temperature small changes of its weights can be seen
LEARNING = {"batch_size": 16, "ppo_epochs": 4, "learning_rate": 3e-3, "temperature": 0.1, "kl_coef": 0.0}


def metrics_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["kind"] == "metric"]


def warnings_of(events: list[dict[str, Any]]) -> list[str]:
    return [event["text"] for event in events if event["kind"] == "warning"]


@pytest.mark.parametrize("value", ["adapter", "head"])
def test_the_score_rises_and_the_base_is_untouched(run_ppo: RunPPO, tiny_base: Path, value: str) -> None:
    """Reward 1 for an answer with an e in it: a random model soon writes one."""
    before = file_sha256(tiny_base / "model.safetensors")
    events: list[dict[str, Any]] = []
    result = run_ppo("run", {**LEARNING, "updates": 16, "value": value}, emit=collect(events))
    scores = [metric["objective/scores"] for metric in metrics_of(events)]
    assert len(scores) == result.steps == 16
    assert sum(scores[-5:]) > sum(scores[:5]) + 5 * 0.2
    assert result.metrics["scores"] == pytest.approx(sum(scores[-5:]) / 5, abs=1e-5)
    assert metrics_of(events)[-1]["objective/kl"] > 0.1
    assert file_sha256(tiny_base / "model.safetensors") == before


def test_an_update_starts_at_ratio_1_and_without_distance(run_ppo: RunPPO) -> None:
    """Before anything is learned, policy, its old self and the reference agree exactly."""
    events: list[dict[str, Any]] = []
    run_ppo("run", {"mini_batches": 2, "whiten_advantages": False, "lam": 1.0}, emit=collect(events))
    metrics = metrics_of(events)
    assert set(metrics[0]) == METRICS | {"kind", "step"}
    assert [metric["val/ratio_first"] for metric in metrics] == pytest.approx([1, 1, 1], abs=1e-3)
    first = metrics[0]
    assert (first["objective/kl"], first["objective/non_score_reward"]) == (0, 0)
    assert first["objective/rlhf_reward"] == first["objective/scores"]
    assert first["objective/entropy"] == pytest.approx(torch.log(torch.tensor(384.0)).item(), abs=0.1)  # a random model
    assert first["val/explained_variance"] == 0  # a head of zeros expects 0 everywhere
    assert [metric["lr"] for metric in metrics] == pytest.approx([1e-2, 1e-2 * 2 / 3, 1e-2 / 3], rel=1e-3)


def test_the_first_losses_have_closed_forms(run_ppo: RunPPO) -> None:
    """One step, zero values, γ = λ = 1: every advantage and return is the score, here 1 for every answer.

    The policy loss is then mean(-1 · ratio 1) = -1 and the value loss ½ · 1² = 0.5.
    """
    events: list[dict[str, Any]] = []
    options = {"updates": 1, "ppo_epochs": 1, "reward": ("matches:^",), "whiten_advantages": False, "lam": 1.0}
    run_ppo("run", options, emit=collect(events))
    first = metrics_of(events)[0]
    assert first["loss/policy"] == pytest.approx(-1, abs=1e-3)
    assert first["loss/value"] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("value", ["adapter", "head"])
def test_parts_of_a_mini_batch_add_up_to_it(run_ppo: RunPPO, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers in one forward pass, or recomputed layers, change memory and nothing else."""
    from safetensors.torch import load_file

    monkeypatch.setattr("medley.lm.load._cpu_has_bf16", lambda: False)
    settings = [{}, {"rows_at_once": 1}, {"gradient_checkpointing": True}]
    results = [
        run_ppo(f"run-{number}", {"updates": 1, "value": value, **setting}) for number, setting in enumerate(settings)
    ]
    whole, parts, recomputed = (load_file(result.adapter_dir / "adapter_model.safetensors") for result in results)
    for name in whole:
        torch.testing.assert_close(recomputed[name], whole[name], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(parts[name], whole[name], atol=1e-3, rtol=1e-2)


def test_plain_peft_reloads_it_with_the_policys_logits(
    run_ppo: RunPPO, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from trainers import ppo

    policies = []
    prepare = ppo._prepare
    monkeypatch.setattr(ppo, "_prepare", lambda *arguments: policies.append(prepare(*arguments)) or policies[0])
    monkeypatch.setattr("medley.lm.load._cpu_has_bf16", lambda: False)
    result = run_ppo("run", {"learning_rate": 3e-2})
    assert sorted(path.name for path in result.adapter_dir.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert open_adapter(result.adapter_dir).config.base_model == TINY_BASE_ID
    ids, base = torch.arange(10, 30)[None], policies[0].base
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    with torch.no_grad():
        bare = plain(ids).logits
        tuned = PeftModel.from_pretrained(plain, str(result.adapter_dir))(ids).logits
        with base.speaking(base.policy):
            torch.testing.assert_close(base.lm(ids).logits, tuned, atol=1e-5, rtol=1e-4)
        with base.speaking(None):  # the reference of a run without --from
            torch.testing.assert_close(base.lm(ids).logits, bare, atol=1e-6, rtol=1e-5)
    assert (tuned - bare).abs().max() > 1e-3


def test_the_adapter_it_starts_from_is_the_reference(run_ppo: RunPPO, make_adapter: Callable[..., Path]) -> None:
    """The start is far from the base; measured from the start itself, the first distance is 0."""
    events: list[dict[str, Any]] = []
    result = run_ppo("run", {"learning_rate": 1e-9}, init_adapter=make_adapter("start", r=3), emit=collect(events))
    assert [metric["objective/kl"] for metric in metrics_of(events)] == pytest.approx([0, 0, 0], abs=1e-2)
    assert {module.rank for module in open_adapter(result.adapter_dir).modules.values()} == {3}


def test_a_reward_adapter_is_optimised_and_another_only_watched(
    run_ppo: RunPPO, tiny_base: Path, tmp_path: Path
) -> None:
    adapters = {name: write_reward_adapter(tiny_base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"))}
    events: list[dict[str, Any]] = []
    options = {**LEARNING, "updates": 12, "reward": ("a", "brevity=0.1"), "gold_reward": ("b",)}
    result = run_ppo("run", options, adapters=adapters, emit=collect(events))
    metrics = metrics_of(events)
    assert result.metrics["scores"] > result.metrics["scores_before"] + 0.5
    assert all("objective/gold" in metric for metric in metrics)
    assert "gold" in result.metrics
    assert sorted(path.name for path in result.adapter_dir.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    with pytest.raises(IncompatibleError, match=r"^A reward adapter cannot be the start of a policy\."):
        run_ppo("other", {}, init_adapter=adapters["a"])


def test_the_options_name_their_adapters_and_take_pinned_ones() -> None:
    row = TRAINERS["ppo"]
    options = PPOOptions(reward=("sentiment", "judge:v2=0.5"), gold_reward=("other", "judge:v2"))
    assert row.adapters_in(options) == ("judge:v2", "other")
    pinned = row.with_adapters(options, {"judge:v2": "sha256:11", "other": "sha256:22"})
    assert (pinned.reward, pinned.gold_reward) == (("sentiment", "sha256:11=0.5"), ("sha256:22=1", "sha256:11=1"))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("ppo-*.yaml")), ids=lambda path: path.name)
def test_shipped_recipes_hold_options(path: Path) -> None:
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert recipe["trainer"] == "ppo"
    options = from_mapping(PPOOptions, recipe["options"])
    assert options.gold_reward
    assert TRAINERS["ppo"].adapters_in(options) == ()  # nothing but functions, so that it runs on a fresh registry


def test_it_trains_on_a_four_bit_base(run_ppo: RunPPO, tmp_path: Path) -> None:
    base_dir = write_tiny_base(tmp_path / "base", hidden_size=64)
    events: list[dict[str, Any]] = []
    result = run_ppo("run", {"quant": "4bit", "reward": ("matches:[a-m]",)}, base_dir=base_dir, emit=collect(events))
    assert result.trained_on == "nf4"
    assert [metric["val/ratio_first"] for metric in metrics_of(events)] == pytest.approx([1, 1, 1], abs=1e-2)
    assert metrics_of(events)[-1]["objective/kl"] != 0


def test_an_answer_without_an_end_costs_its_penalty(run_ppo: RunPPO) -> None:
    events: list[dict[str, Any]] = []
    run_ppo("run", {"updates": 1, "max_new_tokens": 2, "missing_eos_penalty": 3.0}, emit=collect(events))
    first = metrics_of(events)[0]
    assert first["eos_rate"] == 0  # one token in 384 is the end
    assert first["objective/rlhf_reward"] == pytest.approx(first["objective/scores"] - 3)


def test_it_ends_when_it_is_too_far_from_the_reference(run_ppo: RunPPO) -> None:
    events: list[dict[str, Any]] = []
    options = {"updates": 50, "kl_stop": 1e-6, "learning_rate": 3e-2, "kl_estimator": "k3"}
    result = run_ppo("run", options, emit=collect(events))
    assert (result.steps, result.was_stopped) == (2, False)  # the first batch is at distance 0
    assert result.adapter_dir is not None
    (warning,) = warnings_of(events)
    assert warning.startswith("The run ends here: an answer is ")
    assert warning.endswith("more than kl_stop 1e-06. The adapter is as it was before this batch.")
    assert "loss/policy" not in metrics_of(events)[-1]
    one_update = run_ppo("one", {**options, "updates": 1, "lr_schedule": "constant"})
    assert adapter_digest(one_update) != adapter_digest(run_ppo("none", {**options, "updates": 1, "ppo_epochs": 1}))


def test_the_passes_over_a_batch_end_when_the_policy_has_moved(run_ppo: RunPPO) -> None:
    """With a limit below any movement, the second step is the last: the first one is at distance 0."""
    results = [
        run_ppo(name, {"updates": 1, "ppo_epochs": passes, "approxkl_stop": limit})
        for name, passes, limit in (("limited", 9, 1e-12), ("two", 2, None), ("three", 3, None))
    ]
    limited, two, three = map(adapter_digest, results)
    assert limited == two != three


def test_the_coefficient_follows_the_distance(run_ppo: RunPPO) -> None:
    """Far below its target, every batch makes the KL 2 % cheaper (1909.08593)."""
    events: list[dict[str, Any]] = []
    run_ppo("run", {"kl_adaptive": True, "kl_target": 1000.0, "kl_coef": 0.1}, emit=collect(events))
    assert [metric["kl_coef"] for metric in metrics_of(events)] == pytest.approx([0.1, 0.098, 0.09604])


def test_events_tell_samples_with_their_score(run_ppo: RunPPO) -> None:
    events: list[dict[str, Any]] = []
    run_ppo("run", {"samples": 2, "sample_every": 2, "save_every": 2}, emit=collect(events))
    samples = [event for event in events if event["kind"] == "sample"]
    assert [(event["step"], event["number"]) for event in samples] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    for event in samples:
        assert event["prompt"].startswith("Which way is ")
        assert event["score"] == float("e" in event["text"])
    assert [event["path"] for event in events if event["kind"] == "checkpoint"] == ["checkpoint-2", "checkpoint-3"]
    steps = [(event["step"], event["total"]) for event in events if event["kind"] == "progress" and event["total"]]
    assert steps == [(1, 3), (2, 3), (3, 3)]

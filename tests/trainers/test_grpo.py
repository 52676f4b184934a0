"""Group relative policy optimisation on a tiny model: its reference, its rewards, what it learns, and resumes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from medley.errors import DatasetError, IncompatibleError, ParameterError, ProblemsError
from medley.lm.adapter_file import file_sha256
from medley.lm.load import load_base
from medley.lm.score_model import ScoreModel
from tests.tiny_model import write_tiny_base
from tests.trainers.preference_rows import FAST, WORDS, adapter_digest, collect, pair, runner, values, write_dataset
from trainers import TRAINERS, GRPOOptions, RewardOptions, TrainResult
from trainers.reward_words import names_of, parse_rewards

RunGRPO = Callable[..., TrainResult]
SHORT = {**FAST, "batch_size": 8, "num_generations": 4, "max_new_tokens": 6, "max_eval_rows": 0}


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Preference rows, of which only the prompts are used; one prompt stands twice."""
    rows = [pair(word) for word in (*WORDS[:8], WORDS[0], *WORDS[8:])]
    return write_dataset(tmp_path / "prompts", rows[:9], rows[9:])


@pytest.fixture
def run_grpo(tiny_base: Path, prompts: Path, tmp_path: Path) -> RunGRPO:
    return runner("grpo", tiny_base, prompts, tmp_path)


@pytest.fixture
def loud_base(tiny_base: Path, tmp_path: Path) -> Path:
    """The tiny base with output weights eight times as large: its odds are not all alike, so they can be moved."""
    folder = shutil.copytree(tiny_base, tmp_path / "loud")
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"] *= 8
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_it_raises_a_trivial_reward_and_leaves_the_base_alone(run_grpo: RunGRPO, loud_base: Path) -> None:
    before = file_sha256(loud_base / "model.safetensors")
    events: list[dict[str, Any]] = []
    settings = {**SHORT, "batch_size": 16, "num_generations": 8, "kl_samples": 4, "kl_tokens": 6, "samples": 1}
    options = GRPOOptions(
        epochs=6, learning_rate=2e-2, lr_schedule="constant", reward=("matches:e",), beta=0.001, **settings
    )
    result = run_grpo("run", options, base_dir=loud_base, emit=collect(events))
    rewards = values(events, "reward")
    assert result.steps == len(rewards) == 24  # 8 different prompts, 2 a step, 6 epochs
    assert sum(rewards[-6:]) / 6 > sum(rewards[:6]) / 6 + 0.3
    assert result.metrics["reward"] == pytest.approx(rewards[-1], abs=1e-6)
    assert result.metrics["kl/sequence"] > 0
    assert file_sha256(loud_base / "model.safetensors") == before
    assert sorted(path.name for path in result.adapter_dir.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    samples = [event for event in events if event["kind"] == "sample"]
    assert {event["step"] for event in samples} == {1, 5, 10, 15, 20}
    assert all(event["score"] == float("e" in event["text"]) for event in samples)


def test_the_reference_is_the_adapter_to_start_from(run_grpo: RunGRPO, make_adapter: Callable[..., Path]) -> None:
    """At the first step the KL is exactly 0; with ratios of 1 and advantages that sum to 0 so is the loss of grpo."""
    for start in (make_adapter("start", lora_dropout=0.1), None):
        events: list[dict[str, Any]] = []
        options = GRPOOptions(
            max_steps=3, learning_rate=1e-2, loss="grpo", reward=("length", "no-repetition=-0.5"), **SHORT
        )
        run_grpo(f"run-{start is None}", options, init_adapter=start, emit=collect(events))
        assert values(events, "kl")[0] == 0.0
        assert values(events, "kl")[-1] > 0
        assert values(events, "loss")[0] == pytest.approx(0, abs=1e-5)
        total = [
            length - 0.5 * distinct
            for length, distinct in zip(
                values(events, "rewards/length/mean"), values(events, "rewards/no-repetition/mean"), strict=True
            )
        ]
        assert values(events, "reward") == pytest.approx(total, abs=1e-5)
    assert TRAINERS["grpo"].init_role == "reference"


def test_without_beta_nothing_is_measured_against_the_reference(run_grpo: RunGRPO) -> None:
    events: list[dict[str, Any]] = []
    run_grpo("run", GRPOOptions(max_steps=1, beta=0.0, reward=("length",), **SHORT), emit=collect(events))
    assert values(events, "kl") == []


@pytest.mark.parametrize("group_by_length", [True, False])
def test_stopped_and_resumed_equals_never_stopped(run_grpo: RunGRPO, group_by_length: bool) -> None:
    """The prompts of an epoch and the luck of the answers go on where they were; eval prompts are answered between."""
    settings = {**SHORT, "max_eval_rows": 2, "batch_size": 4, "gradient_accumulation": 2}
    options = GRPOOptions(
        epochs=2, learning_rate=1e-2, reward=("length",), save_every=2, eval_every=2,
        group_by_length=group_by_length, **settings,
    )  # fmt: skip
    whole = run_grpo("whole", options)
    asked = iter(range(100))
    stopped = run_grpo("stopped", options, should_stop=lambda: next(asked) == 4)  # after step 5 of 8, in epoch 2
    assert (stopped.was_stopped, stopped.steps, stopped.adapter_dir) == (True, 5, None)
    assert list(stopped.checkpoint.rglob("README.md")) == []
    resumed = run_grpo("resumed", options, resume_from=stopped.checkpoint)
    assert resumed.steps == whole.steps == 8
    assert adapter_digest(resumed) == adapter_digest(whole)
    assert {"eval_reward", "eval_reward_before"} <= set(whole.metrics)
    other = run_grpo("other", GRPOOptions(**{**vars(options), "seed": 7}))
    assert adapter_digest(other) != adapter_digest(whole)


@pytest.fixture
def reward_adapter(tiny_base: Path, prompts: Path, tmp_path: Path) -> Path:
    run = runner("reward", tiny_base, prompts, tmp_path)
    options = RewardOptions(epochs=4, learning_rate=1e-2, batch_size=4, rank=4, max_eval_rows=0, device="cpu")
    result = run("reward", options)
    assert result.adapter_dir is not None
    return result.adapter_dir


def test_a_reward_adapter_scores_on_the_policys_base_as_it_does_by_itself(
    run_grpo: RunGRPO, tiny_base: Path, reward_adapter: Path, make_adapter: Callable[..., Path]
) -> None:
    from trainers.grpo_reward import BorrowedReward
    from trainers.reference import attach_policy

    texts = [list(range(5, 5 + size)) for size in (3, 9, 6)]
    alone = ScoreModel.open(tiny_base, reward_adapter, device="cpu").score(texts)
    base = load_base(tiny_base, device="cpu")
    policy = attach_policy(base.model, GRPOOptions(), make_adapter("policy"))
    ids = torch.tensor([texts[1]])
    with torch.no_grad():
        before = policy(ids).logits
    borrowed = BorrowedReward(reward_adapter, policy).score(texts, base.tokenizer.pad_token_id)
    assert borrowed == pytest.approx(alone, rel=2e-2, abs=2e-2)
    assert max(alone) - min(alone) > 0.05
    with torch.no_grad():
        torch.testing.assert_close(policy(ids).logits, before, atol=0, rtol=0)  # the policy does not hear it

    events: list[dict[str, Any]] = []
    options = GRPOOptions(
        max_steps=1, reward=("sha256:ab=2", "matches:e", "matches:[^e]=-1"), **{**SHORT, "samples": 8}
    )
    run_grpo(
        "run", options, adapters={"sha256:ab": reward_adapter}, labels={"sha256:ab": "judge:v1"}, emit=collect(events)
    )
    parts = [values(events, f"rewards/{name}/mean")[0] for name in ("judge:v1", "matches:e", "matches:[^e]")]
    weighted = sum(weight * part for weight, part in zip((2, 1, -1), parts, strict=True))
    assert values(events, "reward")[0] == pytest.approx(weighted)
    shown = [event["score"] for event in events if event["kind"] == "sample"]
    assert len(shown) == 8
    assert sum(shown) / 8 == pytest.approx(weighted, abs=1e-3)


def test_rewards_have_names_of_their_own() -> None:
    terms = parse_rewards(("brevity", "matches:a", "matches:b", "sha256:ab", "brevity=0.5", "poet"))
    assert names_of(terms, {"sha256:ab": "judge:v1"}) == [
        "brevity", "matches:a", "matches:b", "judge:v1", "brevity (2)", "poet",
    ]  # fmt: skip


def test_qlora_has_the_same_exact_reference_and_hears_a_reward_adapter(prompts: Path, tmp_path: Path) -> None:
    base_dir = write_tiny_base(tmp_path / "base", hidden_size=64)
    settings = {"max_steps": 2, "batch_size": 4, "rank": 4, "max_eval_rows": 0, "device": "cpu", "learning_rate": 1e-2}
    judge = runner("reward", base_dir, prompts, tmp_path)("judge", RewardOptions(**settings)).adapter_dir
    events: list[dict[str, Any]] = []
    options = GRPOOptions(max_steps=3, learning_rate=1e-2, quant="4bit", reward=("judge",), **SHORT)
    run = runner("grpo", base_dir, prompts, tmp_path)
    result = run("run", options, adapters={"judge": judge}, emit=collect(events))
    assert result.trained_on == "nf4"
    assert values(events, "kl")[0] == 0.0 < values(events, "kl")[-1]
    assert values(events, "reward_std")[0] > 0


def test_an_adapter_without_a_score_head_is_refused(run_grpo: RunGRPO, make_adapter: Callable[..., Path]) -> None:
    with pytest.raises(IncompatibleError, match=r"^poet is no reward adapter: it has no score head\."):
        run_grpo("run", GRPOOptions(reward=("poet",), **SHORT), adapters={"poet": make_adapter("poet")})


def test_names_of_reward_adapters_are_pinned_in_the_options() -> None:
    row, options = TRAINERS["grpo"], GRPOOptions(reward=("sentiment=0.5", "judge:v1=2"))
    assert row.adapters_in(options) == ("judge:v1",)
    assert row.with_adapters(options, {"judge:v1": "sha256:ab"}).reward == ("sentiment=0.5", "sha256:ab=2")


def test_a_step_holds_whole_groups_and_enough_prompts(run_grpo: RunGRPO) -> None:
    with pytest.raises(ProblemsError) as caught:
        run_grpo("run", GRPOOptions(**{**SHORT, "batch_size": 6}))
    assert str(caught.value) == (
        "A step of 6 answers (batch_size times gradient_accumulation) does not hold whole groups of 4. "
        "Make it a multiple of num_generations."
    )
    with pytest.raises(DatasetError) as caught:
        run_grpo("run", GRPOOptions(**{**SHORT, "batch_size": 64}))
    assert str(caught.value) == (
        "One step answers 16 prompts, but there are 8. Lower batch_size, or raise num_generations."
    )
    with pytest.raises(ParameterError, match=r"^The reward matches needs a regular expression\."):
        run_grpo("run", GRPOOptions(reward=("matches",), **SHORT))

"""Kahneman-Tversky optimisation on a tiny model: its reference, its first loss, what it learns from which rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medley.errors import DatasetError
from medley.lm.adapter_file import file_sha256
from tests.tiny_model import write_tiny_base
from tests.trainers.preference_rows import (
    FAST,
    WORDS,
    adapter_digest,
    collect,
    pair,
    runner,
    unpaired,
    values,
    write_dataset,
)
from trainers import TRAINERS, KTOOptions, TrainResult

RunKTO = Callable[..., TrainResult]


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Eight good and eight bad answers to learn, two of each to measure on."""
    rows = [unpaired(word, is_good=is_good) for word in WORDS for is_good in (True, False)]
    return write_dataset(tmp_path / "answers", rows[:16], rows[16:])


@pytest.fixture
def run_kto(tiny_base: Path, answers: Path, tmp_path: Path) -> RunKTO:
    return runner("kto", tiny_base, answers, tmp_path)


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
def test_the_first_loss_is_one_half_with_and_without_a_start(
    run_kto: RunKTO, make_adapter: Callable[..., Path], loss: str
) -> None:
    """Policy and reference are one function, so rewards and KL are 0 and the loss is 1 - s(0) on both kinds of row."""
    for start in (None, make_adapter("start")):
        events: list[dict[str, Any]] = []
        options = KTOOptions(max_steps=3, learning_rate=1e-2, loss=loss, **FAST)
        run_kto(f"run-{start is None}", options, init_adapter=start, emit=collect(events))
        measured = next(event for event in events if "eval_loss" in event)
        assert measured["eval_loss"] == pytest.approx(0.5, abs=1e-6)
        assert measured["eval_rewards/chosen"] == measured["eval_rewards/rejected"] == measured["eval_kl"] == 0.0
        assert values(events, "loss")[0] == pytest.approx(0.5, abs=1e-6)
        assert values(events, "eval_rewards/chosen")[-1] != 0
    assert TRAINERS["kto"].init_role == "reference"


def test_it_learns_good_from_bad_and_leaves_the_base_alone(run_kto: RunKTO, tiny_base: Path) -> None:
    before = file_sha256(tiny_base / "model.safetensors")
    events: list[dict[str, Any]] = []
    options = KTOOptions(epochs=8, learning_rate=2e-2, beta=0.5, **{**FAST, "kl_samples": 3, "kl_tokens": 5})
    result = run_kto("run", options, emit=collect(events))
    assert values(events, "loss")[-1] < 0.3
    assert values(events, "eval_rewards/margins")[-1] > 1
    assert values(events, "eval_rewards/chosen")[-1] > 0 > values(events, "eval_rewards/rejected")[-1]
    assert result.metrics["kl/sequence"] > 0
    assert sorted(path.name for path in result.adapter_dir.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert file_sha256(tiny_base / "model.safetensors") == before


@pytest.mark.parametrize("group_by_length", [True, False])
def test_stopped_and_resumed_equals_never_stopped(
    run_kto: RunKTO, make_adapter: Callable[..., Path], group_by_length: bool
) -> None:
    start = make_adapter("start", lora_dropout=0.1)
    options = KTOOptions(
        epochs=2, save_every=2, eval_every=4, learning_rate=1e-3, group_by_length=group_by_length, **FAST
    )
    whole = run_kto("whole", options, init_adapter=start)
    asked = iter(range(100))
    stopped = run_kto("stopped", options, init_adapter=start, should_stop=lambda: next(asked) == 4)  # in epoch 2
    assert (stopped.was_stopped, stopped.steps, stopped.adapter_dir) == (True, 5, None)
    assert list(stopped.checkpoint.rglob("README.md")) == []
    resumed = run_kto("resumed", options, init_adapter=start, resume_from=stopped.checkpoint)
    assert adapter_digest(resumed) == adapter_digest(whole)


def test_a_preference_row_is_a_good_and_a_bad_one(run_kto: RunKTO, tmp_path: Path) -> None:
    rows = [pair(word) for word in WORDS]
    pairs = write_dataset(tmp_path / "pairs", rows[:8], rows[8:])
    options = KTOOptions(max_steps=3, learning_rate=1e-2, **FAST)
    assert adapter_digest(run_kto("pairs-run", options, data_dir=pairs)) == adapter_digest(run_kto("rows", options))


def test_a_batch_pairs_each_prompt_with_its_neighbours_answer() -> None:
    from trainers.kto import MismatchingCollator

    rows = [
        {"prompt_ids": [1, 2], "completion_ids": [3], "label": True},
        {"prompt_ids": [4], "completion_ids": [5, 6], "label": False},
    ]
    batch = MismatchingCollator(pad_token_id=0, max_length=3)(rows)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert batch["KL_input_ids"].tolist() == [[1, 2, 5], [4, 3, 0]]  # 6 would be a fourth token
    assert batch["KL_completion_mask"].tolist() == [[0, 0, 1], [0, 1, 0]]


def test_qlora_has_the_same_exact_reference(answers: Path, tmp_path: Path) -> None:
    base_dir = write_tiny_base(tmp_path / "base", hidden_size=64)
    events: list[dict[str, Any]] = []
    options = KTOOptions(max_steps=2, quant="4bit", **FAST)
    result = runner("kto", base_dir, answers, tmp_path)("run", options, emit=collect(events))
    assert result.trained_on == "nf4"
    assert values(events, "eval_rewards/margins")[0] == 0.0


def test_numbers_that_do_not_balance_are_told_with_the_weight_that_would(
    run_kto: RunKTO, tiny_base: Path, tmp_path: Path
) -> None:
    """Six good and two bad: 6/2 = 3."""
    rows = [unpaired(word, is_good=number < 6) for number, word in enumerate(WORDS[:8])]
    data = write_dataset(tmp_path / "uneven", rows, [])
    told = {}
    for weight in (1.0, 3.0):
        events: list[dict[str, Any]] = []
        options = KTOOptions(max_steps=1, undesirable_weight=weight, **FAST)
        run_kto(f"weight-{weight}", options, data_dir=data, emit=collect(events))
        told[weight] = [event["text"] for event in events if event["kind"] == "warning"]
    assert told == {
        1.0: ["6 good and 2 bad answers do not weigh the same. undesirable_weight 3.00 would balance them."],
        3.0: [],
    }


def test_rows_without_room_for_an_answer_are_counted_and_refused(run_kto: RunKTO) -> None:
    with pytest.raises(DatasetError) as caught:
        run_kto("run", KTOOptions(max_length=8, **FAST))
    assert str(caught.value) == (
        "Nothing is left of the train split: in all 16 rows the answer begins after the first 8 tokens. "
        "Raise max_length."
    )

"""Direct preference optimisation on a tiny model: its reference, its first losses, what it learns and what it keeps."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medley.corpus import read_rows
from medley.corpus.tokens import encode
from medley.errors import DatasetError, ParameterError, ProblemsError
from medley.lm.adapter_file import file_sha256
from medley.lm.load import load_base, load_tokenizer
from tests.tiny_model import write_tiny_adapter, write_tiny_base
from tests.trainers.preference_rows import FAST, WORDS, adapter_digest, collect, pair, runner, values, write_dataset
from trainers import TRAINERS, DPOOptions, TrainResult
from trainers.dpo_options import LOSSES
from trainers.pairs import encode_pairs

RunDPO = Callable[..., TrainResult]
STEP_0 = {  # with a margin of 0: -log s(0); (0 - 1/(2 beta))^2; max(0, 1 - 0); both halves of a flipped label
    "sigmoid": math.log(2),
    "ipo": (1 / 0.2) ** 2,
    "hinge": 1.0,
    "robust": (0.9 - 0.1) * math.log(2) / (1 - 0.2),
    "exo_pair": 0.5 * (math.log(0.5) - math.log(0.999)) + 0.5 * (math.log(0.5) - math.log(0.001)),
    "nca_pair": 2 * math.log(2),
    "bco_pair": 2 * math.log(2),
    "sppo_hard": 2 * (0.5 / 0.1) ** 2,
    "aot": math.log(2),
    "aot_unpaired": math.log(2),
    "apo_zero": 1.0,
    "apo_down": 1.0,
    "discopop": 0.5 * math.log(2) + 0.5,
    "sigmoid_norm": math.log(2),
}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [pair(word) for word in WORDS]
    return write_dataset(tmp_path / "pairs", rows[:8], rows[8:])


@pytest.fixture
def run_dpo(tiny_base: Path, pairs: Path, tmp_path: Path) -> RunDPO:
    return runner("dpo", tiny_base, pairs, tmp_path)


def mean_logps(base_dir: Path, adapter_dir: Path | None, data_dir: Path, answer: str) -> float:
    """Mean log-probability of an answer on the eval rows, by plain peft and a loop over positions."""
    from peft import PeftModel

    base = load_base(base_dir, device="cpu")
    model = base.model if adapter_dir is None else PeftModel.from_pretrained(base.model, str(adapter_dir))
    totals = []
    for row in read_rows(data_dir, "eval"):
        encoded = encode(row, base.tokenizer, max_length=None, answer=answer)
        with torch.no_grad():
            logps_TV = model(torch.tensor([encoded.input_ids])).logits[0].float().log_softmax(-1)
        positions = range(1, len(encoded.input_ids))
        totals.append(sum(float(logps_TV[t - 1, encoded.input_ids[t]]) for t in positions if encoded.trained[t]))
    return sum(totals) / len(totals)


@pytest.mark.parametrize("use_dora", [False, True])
def test_the_reference_is_the_adapter_to_start_from_and_not_the_base(
    run_dpo: RunDPO, tiny_base: Path, pairs: Path, make_adapter: Callable[..., Path], use_dora: bool
) -> None:
    """Before the first step policy and reference are one function: margins are 0, log-probabilities the adapter's."""
    start = make_adapter("start", r=3, use_dora=use_dora)
    events: list[dict[str, Any]] = []
    run_dpo("run", DPOOptions(max_steps=3, learning_rate=1e-2, **FAST), init_adapter=start, emit=collect(events))
    measured = next(event for event in events if "eval_loss" in event)
    assert measured["step"] == 0
    assert measured["eval_rewards/chosen"] == measured["eval_rewards/rejected"] == 0.0
    assert measured["eval_rewards/margins"] == 0.0
    assert measured["eval_loss"] == pytest.approx(math.log(2), abs=1e-6)
    for answer in ("chosen", "rejected"):
        of_adapter = mean_logps(tiny_base, start, pairs, answer)
        of_base = mean_logps(tiny_base, None, pairs, answer)
        assert measured[f"eval_logps/{answer}"] == pytest.approx(of_adapter, rel=1e-2)
        assert abs(of_adapter - of_base) > 5 * abs(measured[f"eval_logps/{answer}"] - of_adapter)
    rewards = [event["eval_rewards/chosen"] for event in events if "eval_loss" in event]
    assert rewards[-1] != 0  # the policy has left its reference, which stayed where it was
    assert TRAINERS["dpo"].init_role == "reference"


def test_the_reference_stays_where_it_was(
    run_dpo: RunDPO, tiny_base: Path, pairs: Path, make_adapter: Callable[..., Path]
) -> None:
    """Rewards after training are beta times the change of log-probability from the adapter that it started from."""
    start = make_adapter("start", r=3)
    events: list[dict[str, Any]] = []
    options = DPOOptions(max_steps=6, learning_rate=2e-2, beta=0.5, **FAST)
    result = run_dpo("run", options, init_adapter=start, emit=collect(events))
    for answer in ("chosen", "rejected"):
        before, after = (mean_logps(tiny_base, each, pairs, answer) for each in (start, result.adapter_dir))
        reward = values(events, f"eval_rewards/{answer}")[-1]
        assert reward == pytest.approx(0.5 * (after - before), rel=0.03, abs=0.05)
        assert abs(reward) > 0.3


@pytest.mark.parametrize("loss", LOSSES)
def test_the_first_loss_of_each_kind_has_a_closed_form(run_dpo: RunDPO, loss: str) -> None:
    events: list[dict[str, Any]] = []
    options = DPOOptions(max_steps=1, loss=loss, max_eval_rows=0, **FAST)
    run_dpo("run", options, emit=collect(events))
    assert values(events, "loss") == [pytest.approx(STEP_0[loss], abs=1e-4)]


def test_it_learns_eight_pairs_and_leaves_the_base_alone(run_dpo: RunDPO, tiny_base: Path) -> None:
    before = file_sha256(tiny_base / "model.safetensors")
    events: list[dict[str, Any]] = []
    options = DPOOptions(epochs=10, learning_rate=2e-2, beta=1.0, **{**FAST, "kl_samples": 4, "kl_tokens": 8})
    result = run_dpo("run", options, emit=collect(events))
    losses = values(events, "loss")
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert len(losses) == 20
    assert losses[-1] < 0.1
    assert values(events, "rewards/accuracies")[-1] == 1.0
    assert result.metrics["eval_rewards/accuracies"] == 1.0
    assert result.metrics["eval_rewards/margins"] == pytest.approx(values(events, "eval_rewards/margins")[-1])
    assert result.metrics["kl/sequence"] > result.metrics["kl/token"] > 0
    assert result.metrics["kl/samples"] == 4
    assert file_sha256(tiny_base / "model.safetensors") == before


def test_what_is_written_is_one_adapter_that_plain_peft_loads(
    run_dpo: RunDPO, tiny_base: Path, pairs: Path, make_adapter: Callable[..., Path]
) -> None:
    start = make_adapter("start", r=3)
    events: list[dict[str, Any]] = []
    options = DPOOptions(max_steps=4, learning_rate=1e-2, **FAST)
    result = run_dpo("run", options, init_adapter=start, emit=collect(events))
    assert sorted(path.name for path in result.adapter_dir.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert json.loads((result.adapter_dir / "adapter_config.json").read_text())["r"] == 3
    reloaded = mean_logps(tiny_base, result.adapter_dir, pairs, "chosen")
    assert reloaded == pytest.approx(values(events, "eval_logps/chosen")[-1], rel=1e-2)


@pytest.mark.parametrize("has_start", [True, False])
def test_stopped_and_resumed_equals_never_stopped(
    run_dpo: RunDPO, make_adapter: Callable[..., Path], has_start: bool
) -> None:
    """Also with dropout, and with the reference among a checkpoint's adapters; and another seed gives other bytes."""
    start = make_adapter("start", lora_dropout=0.1) if has_start else None
    options = DPOOptions(epochs=3, dropout=0.1, save_every=2, eval_every=4, learning_rate=1e-3, **FAST)
    whole = run_dpo("whole", options, init_adapter=start)
    asked = iter(range(100))
    stopped = run_dpo("stopped", options, init_adapter=start, should_stop=lambda: next(asked) == 2)  # in epoch 2
    assert (stopped.was_stopped, stopped.steps, stopped.adapter_dir) == (True, 3, None)
    assert list(stopped.checkpoint.rglob("README.md")) == []
    resumed = run_dpo("resumed", options, init_adapter=start, resume_from=stopped.checkpoint)
    assert resumed.steps == whole.steps == 6
    assert adapter_digest(resumed) == adapter_digest(whole)
    other = run_dpo("other", DPOOptions(**{**vars(options), "seed": 7}), init_adapter=start)
    assert adapter_digest(other) != adapter_digest(whole)


def test_dropout_is_the_policys_alone(run_dpo: RunDPO) -> None:
    """TRL would set it to 0 without a word; the reference drops nothing, so the first margin is no longer exactly 0."""
    without, dropped = (
        adapter_digest(run_dpo(f"dropout-{share}", DPOOptions(max_steps=3, dropout=share, learning_rate=1e-2, **FAST)))
        for share in (0.0, 0.5)
    )
    assert without != dropped


def test_a_four_bit_base_has_the_same_exact_reference_and_resumes_exactly(pairs: Path, tmp_path: Path) -> None:
    base_dir = write_tiny_base(tmp_path / "base", hidden_size=64)
    start = write_tiny_adapter(base_dir, tmp_path / "start")
    run = runner("dpo", base_dir, pairs, tmp_path)
    events: list[dict[str, Any]] = []
    options = DPOOptions(max_steps=8, epochs=4, learning_rate=5e-3, quant="4bit", save_every=2, **FAST)
    whole = run("whole", options, init_adapter=start, emit=collect(events))
    assert whole.trained_on == "nf4"
    assert values(events, "eval_rewards/margins")[0] == 0.0
    assert values(events, "loss")[-1] < 0.5 < values(events, "loss")[0]
    asked = iter(range(100))
    stopped = run("stopped", options, init_adapter=start, should_stop=lambda: next(asked) == 2)
    resumed = run("resumed", options, init_adapter=start, resume_from=stopped.checkpoint)
    assert adapter_digest(resumed) == adapter_digest(whole)


def test_a_pair_without_room_for_both_answers_is_left_out_and_counted(run_dpo: RunDPO) -> None:
    with pytest.raises(DatasetError) as caught:
        run_dpo("short", DPOOptions(max_length=8, **FAST))
    assert str(caught.value) == (
        "Nothing is left to train on: in all 8 pairs an answer begins after the first 8 tokens. "
        "Raise max_length; the shortest pair has 37 tokens."
    )
    events: list[dict[str, Any]] = []
    run_dpo("cut", DPOOptions(max_steps=1, max_length=40, **FAST), emit=collect(events))
    warnings = [event["text"] for event in events if event["kind"] == "warning"]
    assert warnings[0] == "train split: 1 pair cut off at 40 tokens, so that an answer does not end."


def test_settings_that_do_not_go_together_are_refused(run_dpo: RunDPO) -> None:
    with pytest.raises(ProblemsError) as caught:
        run_dpo("run", DPOOptions(label_smoothing=0.1, **FAST))
    assert str(caught.value) == (
        "label_smoothing has no effect on the loss sigmoid. Leave it empty, or choose one of "
        "robust, exo_pair, aot, aot_unpaired."
    )
    with pytest.raises(ProblemsError, match=r"^The loss exo_pair needs a label_smoothing above 0\."):
        run_dpo("run", DPOOptions(loss="exo_pair", label_smoothing=0.0, **FAST))
    with pytest.raises(ParameterError) as caught:
        run_dpo("run", DPOOptions(targets=("lm_head",), **FAST))
    assert str(caught.value) == (
        "The adapter touches lm_head, whose adapter would not be trained here. Choose other targets."
    )


def test_an_added_likelihood_loss_is_added(run_dpo: RunDPO, tiny_base: Path, pairs: Path) -> None:
    """log 2 plus the weight times the mean negative log-probability of a chosen token."""
    events: list[dict[str, Any]] = []
    options = DPOOptions(max_steps=1, sft_weight=2.0, max_eval_rows=0, **{**FAST, "batch_size": 8})
    run_dpo("run", options, emit=collect(events))
    tokenizer = load_tokenizer(tiny_base)
    encoded, _ = encode_pairs(read_rows(pairs, "train"), tokenizer, max_length=1024)
    tokens = sum(len(each.chosen_ids) for each in encoded)
    first = next(event for event in events if "loss" in event)
    assert first["loss"] == pytest.approx(math.log(2) + 2 * 8 * -first["logps/chosen"] / tokens, rel=1e-3)

"""Supervised fine-tuning end to end on a tiny model: what it learns, what it leaves alone, what it writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medley.errors import DatasetError, ParameterError
from medley.lm.adapter_file import file_sha256, open_adapter
from tests.tiny_model import TINY_BASE_ID, write_tiny_base
from trainers import SFTOptions, TrainResult

RunSFT = Callable[..., TrainResult]
FAST = {"batch_size": 4, "rank": 4, "samples": 0, "device": "cpu"}


def adapter_digest(result: TrainResult) -> str:
    assert result.adapter_dir is not None
    return file_sha256(result.adapter_dir / "adapter_model.safetensors")


def collect(events: list[dict[str, Any]]) -> Callable[..., None]:
    return lambda kind, **fields: events.append({"kind": kind, **fields})


def test_the_loss_falls_and_the_base_is_untouched(run_sft: RunSFT, tiny_base: Path) -> None:
    before = file_sha256(tiny_base / "model.safetensors")
    events: list[dict[str, Any]] = []
    options = SFTOptions(epochs=30, learning_rate=1e-2, eval_every=20, save_every=60, **FAST)
    result = run_sft("run", options, emit=collect(events))
    losses = [event["loss"] for event in events if event["kind"] == "metric" and "loss" in event]
    assert len(losses) == result.steps == 60  # 8 rows, 4 a step, 30 epochs
    accuracies = [event["mean_token_accuracy"] for event in events if "mean_token_accuracy" in event]
    assert losses[-1] < losses[0] - 0.3  # tied random embeddings of this size cannot go much lower
    assert accuracies[0] < 0.2 < 0.6 < accuracies[-1]
    assert result.metrics["eval_loss"] < result.metrics["eval_loss_before"]
    assert file_sha256(tiny_base / "model.safetensors") == before


def test_the_first_loss_is_the_cross_entropy_of_the_trained_tokens(
    run_sft: RunSFT, tiny_base: Path, dataset: Path
) -> None:
    """A fresh adapter is the base (B = 0), so the first loss has a closed form: mean -log p over the completions."""
    from medley.corpus import read_rows
    from medley.corpus.tokens import encode_all
    from medley.lm.load import load_base

    base = load_base(tiny_base, device="cpu", dtype="float32")
    encoded, _ = encode_all(read_rows(dataset, "train"), base.tokenizer, max_length=1024)
    total, count = 0.0, 0
    for row in encoded:
        with torch.no_grad():
            logps_TV = base.model(torch.tensor([row.input_ids])).logits[0].float().log_softmax(-1)
        for position in range(1, len(row.input_ids)):
            if row.trained[position]:
                total -= float(logps_TV[position - 1, row.input_ids[position]])
                count += 1
    events: list[dict[str, Any]] = []
    run_sft("run", SFTOptions(max_steps=1, **{**FAST, "batch_size": 8}), emit=collect(events))
    first = next(event["loss"] for event in events if "loss" in event)
    assert first == pytest.approx(total / count, rel=2e-2)  # the base may be held in bf16


def test_what_is_written_is_an_adapter_and_nothing_else(run_sft: RunSFT, tiny_base: Path, tmp_path: Path) -> None:
    result = run_sft("run", SFTOptions(max_steps=2, **FAST))
    assert sorted(path.name for path in result.adapter_dir.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((result.adapter_dir / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == TINY_BASE_ID
    assert config["lora_alpha"] == 8
    assert config["target_modules"] == sorted(config["target_modules"])
    assert str(tmp_path) not in json.dumps(config)
    assert str(tiny_base) not in json.dumps(config)
    assert {module.rank for module in open_adapter(result.adapter_dir).modules.values()} == {4}


def test_plain_peft_reloads_it_with_the_trainers_logits(run_sft: RunSFT, tiny_base: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    result = run_sft("run", SFTOptions(max_steps=6, learning_rate=1e-2, **FAST))
    ids = torch.arange(10, 30)[None]
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    with torch.no_grad():
        plain = base(ids).logits
        tuned = PeftModel.from_pretrained(base, str(result.adapter_dir))(ids).logits
    assert (tuned - plain).abs().max() > 1e-3


def test_same_seed_same_bytes_other_seed_other_bytes(run_sft: RunSFT) -> None:
    options = SFTOptions(max_steps=4, dropout=0.1, seed=7, **FAST)
    first, second = run_sft("one", options), run_sft("two", options)
    assert adapter_digest(first) == adapter_digest(second)
    other = run_sft("three", SFTOptions(max_steps=4, dropout=0.1, seed=8, **FAST))
    assert adapter_digest(other) != adapter_digest(first)


@pytest.mark.parametrize("group_by_length", [True, False])
def test_stopped_and_resumed_equals_never_stopped(run_sft: RunSFT, group_by_length: bool) -> None:
    options = SFTOptions(epochs=4, dropout=0.1, save_every=2, eval_every=3, group_by_length=group_by_length, **FAST)
    whole = run_sft("whole", options)
    asked = iter(range(100))
    stopped = run_sft("stopped", options, should_stop=lambda: next(asked) == 4)  # after step 5 of 8, mid-epoch
    assert (stopped.was_stopped, stopped.steps, stopped.adapter_dir) == (True, 5, None)
    assert stopped.checkpoint is not None
    assert stopped.checkpoint.name == "checkpoint-5"
    assert list(stopped.checkpoint.rglob("README.md")) == []
    resumed = run_sft("resumed", options, resume_from=stopped.checkpoint)
    assert resumed.steps == whole.steps == 8
    assert adapter_digest(resumed) == adapter_digest(whole)


def test_continuing_an_adapter_starts_from_its_weights(run_sft: RunSFT, make_adapter: Callable[..., Path]) -> None:
    from safetensors.torch import load_file

    start = make_adapter("start", r=3)
    result = run_sft("run", SFTOptions(max_steps=1, learning_rate=1e-9, **FAST), init_adapter=start)
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (start, result.adapter_dir))
    assert before.keys() == after.keys()
    for name in before:
        torch.testing.assert_close(after[name].float(), before[name].float(), atol=1e-4, rtol=1e-2)


def test_qlora_trains_on_a_four_bit_base(run_sft: RunSFT, tmp_path: Path) -> None:
    base_dir = write_tiny_base(tmp_path / "base", hidden_size=64)
    events: list[dict[str, Any]] = []
    options = SFTOptions(epochs=15, learning_rate=1e-2, quant="4bit", **FAST)
    result = run_sft("run", options, emit=collect(events), base_dir=base_dir)
    losses = [event["loss"] for event in events if "loss" in event]
    assert result.trained_on == "nf4"
    assert losses[-1] < losses[0] - 0.15


def test_qlora_stopped_and_resumed_equals_never_stopped(run_sft: RunSFT, tmp_path: Path) -> None:
    """The adapter is held in float32 on a 4-bit base too, as a checkpoint of it is loaded."""
    base_dir = write_tiny_base(tmp_path / "base", hidden_size=64)
    options = SFTOptions(max_steps=4, epochs=2, quant="4bit", save_every=1, max_eval_rows=0, **FAST)
    whole = run_sft("whole", options, base_dir=base_dir)
    asked = iter(range(100))
    stopped = run_sft("stopped", options, base_dir=base_dir, should_stop=lambda: next(asked) == 1)
    resumed = run_sft("resumed", options, base_dir=base_dir, resume_from=stopped.checkpoint)
    assert adapter_digest(resumed) == adapter_digest(whole)


def test_events_tell_progress_samples_and_checkpoints(run_sft: RunSFT) -> None:
    events: list[dict[str, Any]] = []
    options = SFTOptions(max_steps=4, save_every=2, eval_every=2, **{**FAST, "samples": 1}, sample_tokens=5)
    run_sft("run", options, emit=collect(events))
    assert [event["step"] for event in events if event["kind"] == "checkpoint"] == [2, 4]
    assert [event["step"] for event in events if event["kind"] == "sample"] == [0, 2, 4]
    steps = [(event["step"], event["total"]) for event in events if event["kind"] == "progress" and event["total"]]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [event["step"] for event in events if "eval_loss" in event] == [0, 2, 4]


def test_a_run_without_anything_to_learn_says_so(run_sft: RunSFT) -> None:
    with pytest.raises(DatasetError) as caught:
        run_sft("run", SFTOptions(max_steps=1, max_length=8, **FAST))
    assert str(caught.value) == (
        "Nothing is left to train on: in all 8 rows the answer begins after the first 8 tokens. "
        "Raise max_length; the shortest row has 31 tokens."
    )


def test_rows_that_were_cut_are_counted_aloud(run_sft: RunSFT) -> None:
    events: list[dict[str, Any]] = []
    run_sft("run", SFTOptions(max_steps=1, max_length=33, **FAST), emit=collect(events))
    warnings = [event["text"] for event in events if event["kind"] == "warning"]
    assert any(text.startswith("train split: ") and "33 tokens" in text for text in warnings), warnings


def test_unknown_targets_name_what_there_is(run_sft: RunSFT) -> None:
    with pytest.raises(ParameterError) as caught:
        run_sft("run", SFTOptions(max_steps=1, targets=("query",), **FAST))
    assert str(caught.value) == (
        "targets query match no module of this base. Use all-linear, or some of: "
        "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj."
    )

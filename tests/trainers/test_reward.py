"""Reward models end to end on a tiny model: what they learn, how they are judged, what is saved, what starts them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medley.corpus import read_rows
from medley.errors import DatasetError, IncompatibleError
from medley.lm.adapter_file import file_sha256, open_adapter
from medley.lm.load import load_score_base
from medley.lm.score_head import draw_head
from medley.lm.score_model import ScoreModel
from tests.tiny_model import TINY_BASE_ID, write_tiny_base
from trainers import TRAINERS, RewardOptions, TrainResult, TrainWork
from trainers.preference_report import report_pairs
from trainers.reward_rows import token_pairs

RunReward = Callable[..., TrainResult]
FAST = {"batch_size": 4, "rank": 4, "device": "cpu"}
LEARNING = {**FAST, "epochs": 15, "learning_rate": 1e-2, "eval_every": 30, "save_every": 30}
WAYS = ("north", "south", "east", "west", "up", "down", "left", "right", "in", "out", "home", "away")
SCORE = "base_model.model.score.weight"


def preference(number: int) -> dict[str, Any]:
    """The chosen answer says aye; it is the longer one every other time, so that no rule of length helps."""
    way = WAYS[number % len(WAYS)]
    answers = [f"Aye, {way}.", f"Nay, not {way} at all."]
    if number % 2:
        answers = [f"Aye, {way} it surely is.", f"Nay, {way}."]
    chosen, rejected = ([{"role": "assistant", "content": answer}] for answer in answers)
    return {
        "prompt": [{"role": "user", "content": f"Is it {way} ({number})?"}],
        "chosen": chosen,
        "rejected": rejected,
    }


def write_split(folder: Path, split: str, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def preferences(tmp_path: Path) -> Path:
    """Eight pairs to learn and sixteen to be judged on."""
    folder = tmp_path / "preferences"
    write_split(folder, "train", [preference(number) for number in range(8)])
    write_split(folder, "eval", [preference(number) for number in range(8, 24)])
    return folder


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bases are held in float32, as on a processor without bf16, so that numbers can be compared closely."""
    monkeypatch.setattr("medley.lm.load._cpu_has_bf16", lambda: False)


@pytest.fixture
def run_reward(tiny_base: Path, preferences: Path, tmp_path: Path) -> RunReward:
    """run_reward(name, options, **work) trains on the tiny base into its own folder."""

    def run(name: str, options: RewardOptions, **work: object) -> TrainResult:
        places = {"base_dir": tiny_base, "base_id": TINY_BASE_ID, "data_dir": preferences, "out_dir": tmp_path / name}
        return TRAINERS["reward"].train(options, TrainWork(**{**places, **work}))

    return run


def adapter_digest(result: TrainResult) -> str:
    assert result.adapter_dir is not None
    return file_sha256(result.adapter_dir / "adapter_model.safetensors")


def collect(events: list[dict[str, Any]]) -> Callable[..., None]:
    return lambda kind, **fields: events.append({"kind": kind, **fields})


def first_metrics(events: list[dict[str, Any]]) -> dict[str, Any]:
    return next(event for event in events if event["kind"] == "metric" and "loss" in event)


def warnings_in(events: list[dict[str, Any]]) -> list[str]:
    return [event["text"] for event in events if event["kind"] == "warning"]


@pytest.mark.usefixtures("in_float32")
def test_the_first_loss_is_bradley_terry_s(
    run_reward: RunReward, tiny_base: Path, preferences: Path, make_reward: Callable[..., Path]
) -> None:
    """Started from a reward model whose scores we compute ourselves, one text at a time without padding.

    loss = mean -log sigma(c - r) + coefficient * mean (c + r)^2 (2203.02155, equation 1; 2312.09244, equation 2).
    """
    start = make_reward("start", seed=5)
    scores = scores_by_plain_peft(tiny_base, start, preferences, "train")
    margins = [chosen - rejected for chosen, rejected in scores]
    ranking = -sum(float(torch.nn.functional.logsigmoid(torch.tensor(each))) for each in margins) / 8
    centring = sum((chosen + rejected) ** 2 for chosen, rejected in scores) / 8
    assert abs(ranking - 0.6931) > 0.05  # the scores are not all alike, or any loss would be log 2
    events: list[dict[str, Any]] = []
    options = RewardOptions(max_steps=1, center_rewards_coefficient=0.1, **{**FAST, "batch_size": 8})
    run_reward("run", options, emit=collect(events), init_adapter=start)
    first = first_metrics(events)
    assert first["loss"] == pytest.approx(ranking + 0.1 * centring, rel=1e-4)
    assert first["margin"] == pytest.approx(sum(margins) / 8, abs=1e-4)
    assert first["accuracy"] == sum(each > 0 for each in margins) / 8


def scores_by_plain_peft(base_dir: Path, adapter: Path, data: Path, split: str) -> list[tuple[float, float]]:
    """(chosen, rejected) of each row by transformers and peft alone, each text by itself, read at its last token."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = AutoModelForSequenceClassification.from_pretrained(base_dir, num_labels=1, dtype=torch.float32)
    base.config.pad_token_id = None
    model, tokenizer = PeftModel.from_pretrained(base, str(adapter)).eval(), AutoTokenizer.from_pretrained(base_dir)

    def score(messages: list[dict[str, str]]) -> float:
        text = tokenizer.apply_chat_template(messages, tokenize=False).rstrip()
        inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            return model(**inputs).logits.item()

    rows = read_rows(data, split)
    return [(score(row["prompt"] + row["chosen"]), score(row["prompt"] + row["rejected"])) for row in rows]


@pytest.mark.usefixtures("in_float32")
def test_it_learns_and_plain_peft_and_our_scorer_agree_with_what_was_measured(
    run_reward: RunReward, tiny_base: Path, preferences: Path
) -> None:
    before = file_sha256(tiny_base / "model.safetensors")
    events: list[dict[str, Any]] = []
    result = run_reward("run", RewardOptions(**LEARNING), emit=collect(events))
    losses = [event["loss"] for event in events if "loss" in event]
    assert len(losses) == result.steps == 30  # 8 pairs, 4 a step, 15 epochs
    assert 0.6 < losses[0] < 0.8
    assert losses[-1] < 0.05
    assert [event["accuracy"] for event in events if "accuracy" in event][-1] == 1.0
    assert file_sha256(tiny_base / "model.safetensors") == before
    assert result.metrics["eval_accuracy"] > 0.9
    assert result.metrics["eval_beats_baseline"] == 1.0
    assert warnings_in(events) == []

    plain = scores_by_plain_peft(tiny_base, result.adapter_dir, preferences, "eval")
    model = ScoreModel.open(tiny_base, result.adapter_dir, device="cpu")
    pairs = token_pairs(read_rows(preferences, "eval"), model.base.tokenizer)
    scores = model.score([ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)], batch_size=5)
    ours = list(zip(scores[::2], scores[1::2], strict=True))
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(plain), atol=1e-4, rtol=1e-4)
    report = report_pairs([pair.scored(*both) for pair, both in zip(pairs, plain, strict=True)])
    assert result.metrics["eval_margin"] == pytest.approx(report.margin, rel=1e-4)
    assert result.metrics["eval_accuracy"] == pytest.approx(report.accuracy, abs=1e-6)


def test_what_is_written_is_a_reward_adapter(run_reward: RunReward, tiny_base: Path, tmp_path: Path) -> None:
    result = run_reward("run", RewardOptions(max_steps=1, **FAST))
    names = sorted(path.name for path in result.adapter_dir.iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((result.adapter_dir / "adapter_config.json").read_text())
    assert (config["task_type"], config["modules_to_save"]) == ("SEQ_CLS", ["score"])
    assert config["base_model_name_or_path"] == TINY_BASE_ID
    assert not any(str(path) in json.dumps(config) for path in (tmp_path, tiny_base))
    adapter = open_adapter(result.adapter_dir)
    assert adapter.is_reward_model
    assert adapter.extra_tensors == (SCORE,)
    assert (adapter.tensors[SCORE].shape, adapter.tensors[SCORE].dtype) == ((1, 32), "F32")


def test_same_seed_same_bytes_other_seed_other_bytes(run_reward: RunReward) -> None:
    options = RewardOptions(max_steps=3, dropout=0.1, seed=7, max_eval_rows=0, **FAST)
    first = run_reward("one", options)
    assert adapter_digest(run_reward("two", options)) == adapter_digest(first)
    other = run_reward("three", RewardOptions(max_steps=3, dropout=0.1, seed=8, max_eval_rows=0, **FAST))
    assert adapter_digest(other) != adapter_digest(first)


def test_stopped_and_resumed_equals_never_stopped(run_reward: RunReward) -> None:
    options = RewardOptions(epochs=4, dropout=0.1, learning_rate=1e-3, save_every=2, eval_every=3, **FAST)
    whole = run_reward("whole", options)
    asked = iter(range(100))
    stopped = run_reward("stopped", options, should_stop=lambda: next(asked) == 4)  # after step 5 of 8, mid-epoch
    assert (stopped.was_stopped, stopped.steps, stopped.adapter_dir) == (True, 5, None)
    assert list(stopped.checkpoint.rglob("README.md")) == []
    assert "eval_accuracy" not in stopped.metrics
    resumed = run_reward("resumed", options, resume_from=stopped.checkpoint)
    assert resumed.steps == whole.steps == 8
    assert adapter_digest(resumed) == adapter_digest(whole)
    assert resumed.metrics["eval_margin"] == whole.metrics["eval_margin"]


def test_from_an_adapter_that_writes_it_starts_with_its_weights_and_a_fresh_head(
    run_reward: RunReward, tiny_base: Path, make_adapter: Callable[..., Path]
) -> None:
    from safetensors.torch import load_file

    start = make_adapter("start", r=3, target_modules=["q_proj", "down_proj"])
    options = RewardOptions(max_steps=1, learning_rate=1e-9, seed=3, max_eval_rows=0, **FAST)
    result = run_reward("run", options, init_adapter=start)
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (start, result.adapter_dir))
    assert after.keys() - before.keys() == {SCORE}
    for name in before:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
    head = load_score_base(tiny_base, device="cpu").model.score
    draw_head(head, seed=3, spread=0.02)  # the tiny base's initializer_range
    torch.testing.assert_close(after[SCORE], head.weight.detach(), atol=1e-6, rtol=0)
    assert open_adapter(result.adapter_dir).config.r == 3


def test_what_is_no_lora_cannot_start_it(run_reward: RunReward, make_adapter: Callable[..., Path]) -> None:
    start = make_adapter("start", modules_to_save=["embed_tokens"])
    with pytest.raises(IncompatibleError) as caught:
        run_reward("run", RewardOptions(max_steps=1, **FAST), init_adapter=start)
    assert str(caught.value) == (
        "A reward model starts from a LoRA adapter, but of this one, it holds more than LoRA factors "
        "(the first is base_model.model.model.embed_tokens.weight). Leave out --from."
    )


def test_qlora_trains_on_a_four_bit_base(run_reward: RunReward, tmp_path: Path) -> None:
    base_dir = write_tiny_base(tmp_path / "base", hidden_size=64)
    events: list[dict[str, Any]] = []
    options = RewardOptions(quant="4bit", **{**LEARNING, "max_eval_rows": 0})
    result = run_reward("run", options, emit=collect(events), base_dir=base_dir)
    losses = [event["loss"] for event in events if "loss" in event]
    assert result.trained_on == "nf4"
    assert losses[-1] < losses[0] - 0.3
    assert open_adapter(result.adapter_dir).tensors[SCORE].dtype == "F32"


def test_pairs_that_are_too_long_are_left_out_whole_and_counted(run_reward: RunReward, preferences: Path) -> None:
    rows = [preference(number) for number in range(8)]
    rows[2]["rejected"][0]["content"] = "Nay! " * 60  # only one side is too long
    rows[5]["chosen"][0]["content"] = "Aye! " * 60
    write_split(preferences, "train", rows)
    events: list[dict[str, Any]] = []
    options = RewardOptions(max_steps=1, max_length=80, **{**FAST, "batch_size": 8})
    result = run_reward("run", options, emit=collect(events))
    assert warnings_in(events)[0] == "train split: 2 pairs left out, because a side is longer than 80 tokens."
    whole = run_reward("whole", RewardOptions(max_steps=1, **{**FAST, "batch_size": 8}), emit=collect(events))
    write_split(preferences, "train", [row for number, row in enumerate(rows) if number not in (2, 5)])
    six = run_reward("six", options)
    assert six.metrics["train_loss"] == result.metrics["train_loss"] != whole.metrics["train_loss"]


def test_nothing_that_fits_is_an_error(run_reward: RunReward) -> None:
    with pytest.raises(DatasetError) as caught:
        run_reward("run", RewardOptions(max_steps=1, max_length=8, **FAST))
    message = str(caught.value)
    assert message.startswith("Nothing is left to train on: in all 8 pairs a side is longer than 8 tokens. Raise max_")


def test_random_labels_end_with_a_warning(run_reward: RunReward, preferences: Path) -> None:
    toss = random.Random(0)
    rows = [preference(number) for number in range(24)]
    for row in rows:
        if toss.random() < 0.5:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    write_split(preferences, "train", rows[:8])
    write_split(preferences, "eval", rows[8:])
    events: list[dict[str, Any]] = []
    result = run_reward("run", RewardOptions(max_steps=4, learning_rate=1e-3, **FAST), emit=collect(events))
    [warning] = warnings_in(events)
    assert warning.startswith("It does not beat the best length rule: ")
    assert warning.endswith("Do not trust its scores yet; more pairs may help.")
    assert result.metrics["eval_beats_baseline"] == 0.0
    assert result.metrics["eval_gain_low"] < 0 < result.metrics["eval_gain_high"]
    assert result.metrics["eval_pairs"] == 16


def test_without_held_out_pairs_it_says_that_nothing_is_known(run_reward: RunReward, preferences: Path) -> None:
    write_split(preferences, "eval", [])
    events: list[dict[str, Any]] = []
    result = run_reward("run", RewardOptions(max_steps=1, **FAST), emit=collect(events))
    assert warnings_in(events) == ["There are no held-out pairs, so nothing is known of how well it will judge."]
    assert "eval_accuracy" not in result.metrics

"""`medley score` and what `medley adapter` says of a reward model."""

import json
from pathlib import Path

import pytest

from hub import open_registry
from tests.cli.conftest import Here, assert_refused
from tests.tiny_model import TINY_BASE_ID, write_tiny_reward

METRICS = {
    "eval_accuracy": 0.625,
    "eval_accuracy_low": 0.55,
    "eval_accuracy_high": 0.7,
    "eval_pairs": 160.0,
    "eval_longer_wins": 0.44,
    "eval_shorter_wins": 0.56,
    "eval_beats_baseline": 0.0,
}


@pytest.fixture
def judge(stocked: Path, tiny_base: Path, tmp_path: Path, here: Here) -> Path:
    """The home with the imported reward model `judge`."""
    folder = write_tiny_reward(tiny_base, tmp_path / "judge", base_id=TINY_BASE_ID, seed=4)
    here("adapter", "import", folder, "--name", "judge", ok=True)
    return stocked


def test_answers_are_scored_and_printed(stocked: Path, here: Here) -> None:
    answers = ("--answer", "What a wonderful day!", "--answer", "This is terrible.")
    ended = here("score", "sentiment", "--prompt", "Well?", *answers, ok=True)
    assert ended.out == "SCORE    ANSWER\n0.6114   What a wonderful day!\n-0.4767  This is terrible.\n"
    found = here("score", "sentiment", "--prompt", "Well?", *answers, "--json", ok=True).json
    assert (found["scorer"], found["prompt"]) == ("sentiment", "Well?")
    assert [each["score"] for each in found["answers"]] == [0.6114, -0.4767]


def test_a_dataset_is_scored_by_a_reward_model(judge: Path, here: Here, tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    ended = here("score", "judge", "--data", "sums", "--device", "cpu", "--out", out, ok=True)
    lines = ended.out.splitlines()
    assert lines[:2] == ["scorer  judge:v1", "data    sums:v1 (eval, sft)"]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert f"{rows[0]['score']:.4f}" in ended.out
    assert rows[0]["completion"][0]["content"] in ended.out
    assert lines[-1] == f"Wrote {out}."
    again = here("score", "judge", "--data", "sums", "--device", "cpu", "--json", ok=True).json
    assert [each["score"] for each in again["scores"]] == [row["score"] for row in rows]
    assert again["summary"]["rows"] == len(rows)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--data", "sums", "--prompt", "Q", "--answer", "A"],
        ["--prompt", "Q"],
        ["--data", "sums", "--answer", "A"],
        ["--prompt", "Q", "--answer", "A", "--out", "x.jsonl"],
    ],
)
def test_one_thing_at_a_time(stocked: Path, here: Here, flags: list[str]) -> None:
    ended = here("score", "brevity", *flags)
    assert ended.code == 2
    assert "Give either --data (and --out, if you like), or --prompt with one --answer or more." in ended.err


def test_what_cannot_be_scored_is_told_before_anything_is_loaded(judge: Path, here: Here) -> None:
    assert_refused(
        here("score", "left", "--data", "sums"),
        says="'left' writes answers and cannot score any. Train a reward model with: medley train reward",
    )
    assert_refused(
        here("score", "judge", "--data", "summs"), says="There is no dataset named 'summs'. Did you mean 'sums'?"
    )
    assert_refused(
        here("chat", "judge", "--prompt", "Hello"),
        says="'judge' is a reward model: it scores answers and cannot be asked. Use it with: medley score judge",
    )


def test_show_explains_a_reward_model(judge: Path, here: Here) -> None:
    lines = here("adapter", "show", "judge", ok=True).out.splitlines()
    shown = {line.split("  ")[0]: line.partition("  ")[2].strip() for line in lines}
    assert shown["kind"] == (
        "reward model: a LoRA adapter with a score head, which gives an answer a number and writes none"
    )
    assert shown["judges"] == "not measured on held-out pairs"
    assert shown["use"] == "medley score judge:v1 --data DATASET, or --prompt TEXT --answer TEXT"
    registry = open_registry(judge)
    registry.update_metadata(registry.get("judge").id, metrics=METRICS)
    assert (
        "prefers the chosen answer in 62.5 % (55.0 % to 70.0 % at 95 %) of 160 held-out pairs; "
        "the rule 'shorter wins' in 56.0 %, which it does not beat"
    ) in here("adapter", "show", "judge", ok=True).out


def test_pairs_are_printed_beside_the_length_rules(stocked: Path, here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    answers = [("Good.", "Bad, truly bad."), ("Great!", "Awful, and sad."), ("I am happy to help.", "No.")]
    rows = [
        {
            name: [{"role": "assistant", "content": text}]
            for name, text in zip(("chosen", "rejected"), pair, strict=True)
        }
        for pair in answers
    ]
    lines = [json.dumps({"prompt": [{"role": "user", "content": "Well?"}], **row}) for row in rows]
    for split in ("train", "eval"):
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    registry = open_registry(stocked)
    registry.publish("dataset", "pairs", folder, metadata={"kind": "preference"})
    shown = here("score", "sentiment", "--data", "pairs", ok=True).out
    assert "accuracy                       100.0% (43.9% to 100.0% at 95 %)\n" in shown  # Wilson, 3 of 3
    assert "shorter wins                   66.7%\n" in shown
    assert "where 'shorter wins' is wrong  100.0% of 1\n" in shown
    assert "chosen is much shorter         100.0% of 2\n" in shown
    assert "It does not beat the best length rule: 100.0% of 3 eval pairs right, 'shorter wins' 66.7%" in shown
    found = here("score", "sentiment", "--data", "pairs", "--json", ok=True).json
    assert (found["kind"], found["summary"]["accuracy"], len(found["scores"])) == ("preference", 1.0, 3)
    assert set(found["scores"][0]) == {"chosen_score", "rejected_score", "margin"}

"""A run whose eval rows have no room for answers goes on without them, and says so."""

from pathlib import Path
from typing import Any

import pytest

from medley.options import from_mapping
from tests.trainers.preference_rows import FAST, WORDS, collect, pair, runner, write_dataset
from trainers import TRAINERS


@pytest.mark.parametrize(("trainer", "rows"), [("sft", 2), ("dpo", 2), ("kto", 4)])  # to KTO a pair is two rows
def test_eval_rows_that_are_all_too_long(trainer: str, rows: int, tiny_base: Path, tmp_path: Path) -> None:
    short = [pair(word) for word in WORDS[:8]]
    if trainer == "sft":
        short = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in short]
    question = [{"role": "user", "content": "Which way is it? " * 20}]
    folder = write_dataset(tmp_path / "data", short, [{**row, "prompt": question} for row in short[:2]])
    options = {**FAST, "max_steps": 1, "max_length": 80, "samples": 1}
    if trainer == "sft":
        del options["kl_samples"]
    events: list[dict[str, Any]] = []
    result = runner(trainer, tiny_base, folder, tmp_path)(
        "run", from_mapping(TRAINERS[trainer].options_class, options), emit=collect(events)
    )
    assert result.adapter_dir is not None
    assert not any("eval_loss" in event for event in events)
    assert [event["text"] for event in events if event["kind"] == "warning" and "eval" in event["text"]] == [
        f"eval split: in all {rows} rows an answer begins after the first 80 tokens, so nothing is measured while it "
        "trains. Raise max_length."
    ]

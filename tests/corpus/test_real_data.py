"""Real public files, one for each wild format, with the counts that a person can check by other means."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from medley.corpus import import_dataset, read_rows
from medley.errors import DatasetError

MAPPED = "role names mapped"
CASES: list[tuple[str, dict[str, Any]]] = [
    (
        "alpaca-libre/alpaca_libre_tasks_v1.jsonl",  # 1,202 of 2,375 are ok, 29 of those are empty
        {
            "format": "alpaca",
            "found": {"rows": 2375},
            "rows": {"train": 1056, "eval": 117},
            "fixed": {"space around a text removed": 118},
            "dropped": {'status is not "ok"': 1173, "empty answer": 29},
            "unused_columns": ("similarity",),
        },
    ),
    (
        "llama-factory-demos/dpo_en_demo.json",
        {
            "format": "sharegpt-preference",
            "found": {"rows": 300, "rows with a system turn": 80},
            "rows": {"train": 265, "eval": 30},
            "fixed": {MAPPED: 295},
            "dropped": {"exact duplicate": 5},
            "unused_columns": (),
        },
    ),
    (
        "llama-factory-demos/glaive_toolcall_en_demo.json",
        {
            "format": "sharegpt",
            "found": {"rows": 300, "rows with several answers": 227},
            "rows": {"train": 236, "eval": 26},
            "fixed": {MAPPED: 262},
            "dropped": {"exact duplicate": 38},
            "unused_columns": ("tools",),
        },
    ),
    (
        "llama-factory-demos/identity.json",
        {
            "format": "alpaca",
            "found": {"rows": 91, "unfilled slot {{name}}": 77, "unfilled slot {{author}}": 60},
            "rows": {"train": 82, "eval": 9},
            "fixed": {},
            "dropped": {},
            "unused_columns": (),
        },
    ),
    (
        "llama-factory-demos/kto_en_demo.json",  # half of the answers are labelled as bad ones
        {
            "format": "messages",
            "found": {"rows": 300, "rows with several answers": 38},
            "rows": {"train": 135, "eval": 15},
            "fixed": {"space around a text removed": 1},
            "dropped": {"labelled as a bad answer": 150},
            "unused_columns": (),
        },
    ),
    (
        "llama-factory-demos/v1_dpo_demo.jsonl",
        {
            "format": "block-preference",
            "found": {"rows": 10, "rows with a system turn": 10},
            "rows": {"train": 9, "eval": 1},
            "fixed": {"content blocks joined": 10, "space around a text removed": 10},
            "dropped": {},
            "unused_columns": (),
        },
    ),
    (
        "sharegpt-dummy/dummy_conversation.json",
        {
            "format": "sharegpt",
            "found": {"rows": 500, "rows with several answers": 333},
            "rows": {"train": 470, "eval": 30},
            "fixed": {MAPPED: 500},
            "dropped": {},
            "unused_columns": ("id",),
        },
    ),
    (
        "self-instruct/seed_tasks.jsonl",
        {
            "format": "self-instruct",
            "found": {"rows": 175},
            "rows": {"train": 157, "eval": 18},
            "fixed": {},
            "dropped": {},
            "unused_columns": ("id", "name", "is_classification"),
        },
    ),
    (
        "self-instruct/user_oriented_instructions.jsonl",
        {
            "format": "self-instruct",
            "found": {"rows": 252},
            "rows": {"train": 227, "eval": 25},
            "fixed": {},
            "dropped": {},
            "unused_columns": ("id", "motivation_app"),
        },
    ),
    (
        "dolly-hhrlhf-small/dolly_hhrlhf_train_small.jsonl",
        {
            "format": "prompt-completion",
            "found": {"rows": 1000},
            "rows": {"train": 899, "eval": 101},
            "fixed": {"Alpaca header removed from the prompt": 1000},
            "dropped": {},
            "unused_columns": (),
        },
    ),
]


@pytest.mark.parametrize(("path", "expected"), CASES, ids=[path for path, _ in CASES])
def test_a_real_file(shared_data: Path, tmp_path: Path, path: str, expected: dict[str, Any]) -> None:
    if not (shared_data / path).is_file():
        pytest.skip(f"{path} is not on this machine")
    report = import_dataset(shared_data / path, tmp_path / "out")
    seen = {name: getattr(report, name) for name in expected}
    assert seen == expected
    assert [len(read_rows(tmp_path / "out", split)) for split in ("train", "eval")] == list(report.rows.values())


def test_no_prompt_keeps_an_alpaca_header(shared_data: Path, tmp_path: Path) -> None:
    import_dataset(shared_data / "dolly-hhrlhf-small/dolly_hhrlhf_train_small.jsonl", tmp_path / "out")
    rows = read_rows(tmp_path / "out")
    assert rows[0]["prompt"] == [{"role": "user", "content": "what is kangen water?"}]
    assert not any("### " in row["prompt"][0]["content"] for row in rows)


def test_tool_calls_become_assistant_turns_and_their_results_tool_turns(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "llama-factory-demos/glaive_toolcall_en_demo.json"
    import_dataset(path, tmp_path / "out", eval_share=0.0)
    rows = read_rows(tmp_path / "out")
    kept = Counter(message["role"] for row in rows for part in row.values() for message in part)
    different = {json.dumps(record["conversations"]) for record in json.loads(path.read_text(encoding="utf-8"))}
    wild = Counter(turn["from"] for text in different for turn in json.loads(text))
    assert kept == {
        "user": wild["human"],
        "assistant": wild["gpt"] + wild["function_call"],
        "tool": wild["observation"],
    }


@pytest.mark.parametrize(
    ("path", "columns"),
    [
        ("llama-factory-demos/c4_demo.jsonl", "text"),
        ("xstest/xstest_prompts.csv", "id, prompt, type, label, focus, note"),
        ("llm-foundry-icl/svamp.jsonl", "context, chain_of_thought, answer"),
    ],
)
def test_files_that_teach_nothing_are_refused(shared_data: Path, tmp_path: Path, path: str, columns: str) -> None:
    with pytest.raises(DatasetError, match=f"fits none of the known formats. Its columns: {columns}. Known: "):
        import_dataset(shared_data / path, tmp_path / "out")
    assert list(tmp_path.glob("out*")) == []

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
            "found": {"rows": 300, "rows with several assistant turns": 230, "rows with a system turn": 172},
            "rows": {"train": 238, "eval": 27},
            "fixed": {MAPPED: 265, "tools described in the system turn": 172},
            "dropped": {"exact duplicate": 35},
            "unused_columns": (),
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
        "llama-factory-demos/kto_en_demo.json",  # 150 answers are marked good, 150 bad
        {
            "format": "unpaired",
            "kind": "unpaired",
            "found": {"rows": 300},
            "rows": {"train": 268, "eval": 31},
            "fixed": {"space around a text removed": 1},
            "dropped": {"marks of a chat template in a text": 1},
            "unused_columns": (),
        },
    ),
    (
        "hh-rlhf/pairs-1700.jsonl.gz",
        {
            "format": "transcripts",
            "kind": "preference",
            "found": {"rows": 1700},
            "rows": {"train": 1527, "eval": 169},
            "fixed": {"turns of one role in a row merged": 6},
            "dropped": {"empty answer": 4},
            "unused_columns": (),
        },
    ),
    (
        "oasst1-en100/trees-70.jsonl",  # 70 prompts; one conversation forks once
        {
            "format": "oasst",
            "kind": "sft",
            "found": {"rows": 286, "rows with several assistant turns": 29},
            "rows": {"train": 64, "eval": 7},
            "fixed": {MAPPED: 71, "unanswered turn at the end removed": 28},
            "dropped": {"ranked below another answer": 203, "no answer": 12},
            "unused_columns": (),
        },
    ),
    (
        "flan-cot/qasc_train.tsv",
        {
            "format": "flan-table",
            "found": {"rows": 1084},
            "rows": {"train": 976, "eval": 108},
            "fixed": {r"line breaks written as \n restored": 1084, "space around a text removed": 1},
            "dropped": {},
            "unused_columns": ("column 3",),
        },
    ),
    (
        "flan-cot/strategyqa_train.tsv",
        {
            "format": "flan-table",
            "found": {"rows": 2061},
            "rows": {"train": 1854, "eval": 206},
            "fixed": {"space around a text removed": 30},
            "dropped": {"exact duplicate": 1},
            "unused_columns": ("column 3",),
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
            "found": {"rows": 500, "rows with several assistant turns": 333},
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


NAMED: list[tuple[str, str, dict[str, int], dict[str, int]]] = [
    ("oasst1-en100/trees-70.jsonl", "oasst-preference", {"train": 314, "eval": 40}, {"train": 132, "eval": 14}),
    ("llama-factory-demos/kto_en_demo.json", "messages", {"train": 135, "eval": 15}, {"train": 133, "eval": 15}),
    ("xstest/xstest_prompts.csv", "prompts", {"train": 405, "eval": 45}, {"train": 405, "eval": 45}),
    (
        "self-instruct/user_oriented_instructions.jsonl",
        "prompts",
        {"train": 226, "eval": 25},
        {"train": 226, "eval": 25},
    ),
]


@pytest.mark.parametrize(("path", "name", "rows", "prompts"), NAMED)
def test_a_real_file_read_as_it_is_asked(
    shared_data: Path, tmp_path: Path, path: str, name: str, rows: dict[str, int], prompts: dict[str, int]
) -> None:
    report = import_dataset(shared_data / path, tmp_path / "out", format=name)
    assert (report.format, report.rows, report.prompts) == (name, rows, prompts)


@pytest.mark.parametrize("path", [path for path, _ in CASES])
def test_no_wild_role_is_left(shared_data: Path, tmp_path: Path, path: str) -> None:
    import_dataset(shared_data / path, tmp_path / "out")
    rows = [row for split in ("train", "eval") for row in read_rows(tmp_path / "out", split)]
    parts = [part for row in rows for part in row.values() if isinstance(part, list)]
    roles = {message["role"] for part in parts for message in part}
    assert {"user", "assistant"} <= roles <= {"system", "user", "assistant", "tool"}


def test_half_of_the_marked_answers_are_good(shared_data: Path, tmp_path: Path) -> None:
    import_dataset(shared_data / "llama-factory-demos/kto_en_demo.json", tmp_path / "out", eval_share=0.0)
    assert Counter(row["label"] for row in read_rows(tmp_path / "out")) == {
        True: 150,
        False: 149,
    }  # one bad answer holds <|user|>


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
    records = json.loads(path.read_text(encoding="utf-8"))
    different = {json.dumps([record["conversations"], record["tools"]]) for record in records}
    wild = Counter(turn["from"] for text in different for turn in json.loads(text)[0])
    described = sum(json.loads(text)[1] != "[]" for text in different)
    assert kept == {
        "user": wild["human"],
        "assistant": wild["gpt"] + wild["function_call"],
        "tool": wild["observation"],
        "system": described,
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

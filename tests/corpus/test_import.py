"""An import as a whole: the split, the files it leaves, the same bytes again, the report."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medley.corpus import ImportReport, import_dataset, read_report, read_rows
from medley.corpus.split import eval_prompts, prompt_key
from medley.errors import DatasetError, NotFoundError
from tests.corpus.reading import Imported, alpaca, assistant, example, system, user

Import = Callable[..., Imported]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_folder_holds_three_files_and_the_report_says_what_happened(imported: Import) -> None:
    result = imported(
        [alpaca("A?", tag="x"), alpaca("B?", ""), alpaca("C?", " C ")], licence="CC0-1.0", provenance="human"
    )
    assert sorted(path.name for path in result.folder.iterdir()) == ["dataset.json", "eval.jsonl", "train.jsonl"]
    assert stat.S_IMODE(result.folder.stat().st_mode) == 0o755
    assert (result.folder / "train.jsonl").read_text(encoding="utf-8") == (
        '{"prompt":[{"role":"user","content":"A?"}],"completion":[{"role":"assistant","content":"Because."}]}\n'
        '{"prompt":[{"role":"user","content":"C?"}],"completion":[{"role":"assistant","content":"C"}]}\n'
    )
    digest = result.report.source_sha256["data.jsonl"]
    assert json.loads((result.folder / "dataset.json").read_text(encoding="utf-8")) == {
        "format": "alpaca",
        "kind": "sft",
        "source": "data.jsonl",
        "source_sha256": {"data.jsonl": digest},
        "encoding": {"data.jsonl": "utf-8"},
        "found": {"rows": 3},
        "rows": {"train": 2, "eval": 0},
        "prompts": {"train": 2, "eval": 0},
        "fixed": {"space around a text removed": 1},
        "dropped": {"empty answer": 1},
        "examples": {
            "empty answer": [{"row": 2, "text": '{"instruction": "B?", "input": "", "output": ""}'}],
            "space around a text removed": [{"row": 3, "text": "' C '"}],
        },
        "unused_columns": ["tag"],
        "settings": {"eval_share": 0.0, "seed": 0, "turns": "all", "max_rows": None},
        "licence": "CC0-1.0",
        "provenance": "human",
        "duplicates": {
            "rows": 2,
            "compared": 2,
            "near": 0,
            "near_examples": [],
            "eval_rows": 0,
            "eval_near_train": 0,
            "eval_near_examples": [],
            "eval_overlap": {"items": 0, "compared": 0, "found": 0, "rows": 0, "examples": []},
        },
    }
    assert read_report(result.folder) == result.report
    assert result.report.warnings() == ["There is no eval split, so training cannot measure itself."]


def test_the_same_import_gives_the_same_bytes_and_another_seed_another_split(tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        import_dataset(EXAMPLES / "pirate.jsonl", tmp_path / name, seed=seed)
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "again", "other")
    ]
    assert files[0] == files[1]
    assert files[0]["eval.jsonl"] != files[2]["eval.jsonl"]


def test_the_shipped_examples_import_whole(tmp_path: Path) -> None:
    expected = {
        "pirate.jsonl": ("alpaca", "sft", 72, 8),
        "tidy-list.json": ("sharegpt", "sft", 72, 8),
        "preferences.jsonl": ("preference", "preference", 58, 6),
    }
    for name, (form, kind, train, held_out) in expected.items():
        report = import_dataset(EXAMPLES / name, tmp_path / name)
        assert (report.format, report.kind, dict(report.rows)) == (form, kind, {"train": train, "eval": held_out})
        assert report.dropped == {}


def test_one_prompt_is_never_on_both_sides(imported: Import) -> None:
    rows = [alpaca(f"Question {number}?", f"Answer {answer}") for number in range(20) for answer in range(3)]
    rows += [{**alpaca(f"question  {number}?", "Shouted"), "system": "Be loud."} for number in range(20)]
    result = imported(rows, eval_share=0.25)
    sides = [{prompt_key(row["prompt"]) for row in part} for part in (result.train, result.held_out)]
    assert sides[0] & sides[1] == set()
    assert (len(sides[0]), len(sides[1])) == (15, 5)  # a quarter of 20 questions, however they are written
    assert (len(result.train), len(result.held_out)) == (60, 20)


@given(
    keys=st.lists(st.text(max_size=8), max_size=40),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 2**32),
    order=st.randoms(use_true_random=False),
)
def test_the_split_is_a_share_of_the_prompts_in_any_order(keys: list[str], share: float, seed: int, order: Any) -> None:
    chosen = eval_prompts(keys, eval_share=share, seed=seed)
    different = set(keys)
    assert chosen <= different
    assert not different or len(chosen) < len(different)
    assert abs(len(chosen) - share * len(different)) <= 1
    assert len(different) < 10 or share == 0 or len(chosen) >= 1
    shuffled = list(keys)
    order.shuffle(shuffled)
    assert eval_prompts(shuffled, eval_share=share, seed=seed) == chosen


def test_rows_keep_their_order(imported: Import) -> None:
    rows = [alpaca(f"{number}?") for number in range(50)]
    result = imported(rows, eval_share=0.2)
    for part in (result.train, result.held_out):
        numbers = [int(row["prompt"][0]["content"].rstrip("?")) for row in part]
        assert numbers == sorted(numbers)


def test_max_rows_counts_usable_rows_and_stops_reading(imported: Import) -> None:
    rows = [alpaca(""), alpaca("A?"), alpaca("B?"), alpaca("C?")]
    result = imported(rows, max_rows=2)
    assert result.train == [example("A?", "Because."), example("B?", "Because.")]
    assert result.report.found == {"rows": 3}


def test_an_empty_folder_may_be_filled(data_file: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert import_dataset(data_file("a.jsonl", [alpaca()]), tmp_path / "out").rows == {"train": 1, "eval": 0}


def test_several_answers_and_system_turns_are_noticed(imported: Import) -> None:
    turns = [system("Be kind."), user("A"), assistant("1"), user("B"), assistant("2")]
    assert imported([{"messages": turns}]).report.found == {
        "rows": 1,
        "rows with a system turn": 1,
        "rows with several assistant turns": 1,
    }


def test_progress_is_told(data_file: Callable[..., Path], tmp_path: Path) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    path = data_file("a.jsonl", [alpaca(f"{number}?") for number in range(2500)])
    import_dataset(path, tmp_path / "out", emit=lambda kind, **fields: events.append((kind, fields)))
    assert events == [("progress", {"step": step, "total": 0, "text": "Reading rows"}) for step in (1000, 2000)] + [
        ("progress", {"step": 2500, "total": 0, "text": "Looking for repetitions"})
    ]


def test_stopping_in_the_middle_leaves_nothing(data_file: Callable[..., Path], tmp_path: Path) -> None:
    def stop(kind: str, **fields: Any) -> None:
        raise KeyboardInterrupt

    path = data_file("a.jsonl", [alpaca(f"{number}?") for number in range(1000)])
    with pytest.raises(KeyboardInterrupt):
        import_dataset(path, tmp_path / "out", emit=stop)
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]


def test_reading_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"has no dataset\.json"):
        read_report(tmp_path)
    with pytest.raises(NotFoundError, match="There is no split 'train'"):
        read_rows(tmp_path)
    with pytest.raises(NotFoundError, match=r"There is no split '\.\./secret'"):
        read_rows(tmp_path, "../secret")
    (tmp_path / "train.jsonl").write_text('{"prompt": []}\n{"pro')
    with pytest.raises(DatasetError, match=r"Line 2 of train\.jsonl is damaged\. Import the dataset again\."):
        read_rows(tmp_path)


def test_a_report_of_a_newer_medley_can_be_read(imported: Import) -> None:
    report = imported([alpaca()]).report
    assert ImportReport.from_json({**report.to_json(), "language": "en"}) == report

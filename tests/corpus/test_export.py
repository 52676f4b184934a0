"""Rows out again: nothing is lost on the way, and no spreadsheet runs what a row says."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medley.corpus import dataset_statistics, export_rows, import_dataset, read_rows
from medley.errors import ConflictError, NotFoundError, ParameterError, StorageError
from tests.corpus.reading import Imported, alpaca, assistant, system, user

Import = Callable[..., Imported]
ROWS: list[dict[str, Any]] = [
    {"messages": [user("A?"), assistant("- one\n- two")]},
    {"messages": [system("Be kind."), user("B?"), assistant("1"), user("C?"), assistant("2")]},
    {"messages": [user("=SUM(A1:A9)"), assistant("@cmd")]},
    {"messages": [user('\'tis "so"'), assistant("'=1")]},
    {"messages": [user('[{"a": 1}]'), assistant("+1")]},
]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_what_is_exported_imports_to_the_same_rows(imported: Import, tmp_path: Path, suffix: str) -> None:
    result = imported(ROWS)
    out = export_rows(result.folder, tmp_path / f"rows.{suffix}")
    again = import_dataset(out, tmp_path / "again", eval_share=0.0)
    assert (again.format, again.dropped, again.fixed) == ("prompt-completion", {}, {})
    assert read_rows(tmp_path / "again") == result.train
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_pairs_come_back_as_well(imported: Import, tmp_path: Path, suffix: str) -> None:
    result = imported([{"prompt": "-1 + 1?", "chosen": "=0", "rejected": "0"}])
    out = export_rows(result.folder, tmp_path / f"rows.{suffix}")
    import_dataset(out, tmp_path / "again", eval_share=0.0)
    assert read_rows(tmp_path / "again") == result.train


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    "rows",
    [
        [{"prompt": "A?", "completion": "Yes", "label": True}, {"prompt": "B?", "completion": "No", "label": False}],
        [{"prompt": "A?"}, {"prompt": [user("B?"), assistant("So?"), user("C?")]}],
    ],
    ids=["unpaired", "prompts"],
)
def test_marks_and_bare_prompts_come_back_as_well(
    imported: Import, tmp_path: Path, rows: list[dict[str, Any]], suffix: str
) -> None:
    result = imported(rows)
    out = export_rows(result.folder, tmp_path / f"rows.{suffix}")
    assert import_dataset(out, tmp_path / "again", eval_share=0.0).kind == result.report.kind
    assert read_rows(tmp_path / "again") == result.train


def test_no_cell_begins_like_a_formula(imported: Import, tmp_path: Path) -> None:
    out = export_rows(imported(ROWS).folder, tmp_path / "rows.csv")
    with out.open(encoding="utf-8", newline="") as file:
        cells = list(csv.reader(file))
    assert cells[0] == ["split", "prompt", "completion"]
    assert cells[1] == ["train", "A?", "'- one\n- two"]
    assert cells[3] == ["train", "'=SUM(A1:A9)", "'@cmd"]
    assert not any(cell[:1] in set("=+-@\t\r") for row in cells for cell in row)


def test_the_split_is_a_column(imported: Import, tmp_path: Path) -> None:
    result = imported([alpaca(f"{number}?") for number in range(10)], eval_share=0.1)
    out = export_rows(result.folder, tmp_path / "rows.csv")
    with out.open(encoding="utf-8", newline="") as file:
        assert [row["split"] for row in csv.DictReader(file)] == ["train"] * 9 + ["eval"]


def test_exports_that_cannot_be(imported: Import, tmp_path: Path) -> None:
    folder = imported([alpaca()]).folder
    (tmp_path / "taken.csv").write_text("mine")
    with pytest.raises(ConflictError, match=r"^taken\.csv is there already\. Choose another name\.$"):
        export_rows(folder, tmp_path / "taken.csv")
    with pytest.raises(ParameterError, match=r"^format must be one of jsonl, csv, parquet, got xlsx\.$"):
        export_rows(folder, tmp_path / "rows.xlsx")
    with pytest.raises(StorageError, match=r"^rows\.csv cannot be written: No such file or directory\.$"):
        export_rows(folder, tmp_path / "missing" / "rows.csv")
    with pytest.raises(NotFoundError):
        export_rows(tmp_path, tmp_path / "rows.csv")
    assert (tmp_path / "taken.csv").read_text() == "mine"


def test_statistics_by_hand(imported: Import) -> None:
    rows = [
        {"messages": [user("Why?"), assistant("Yes")]},  # prompt 4 characters, answer 3
        {"messages": [user("why?"), assistant("No way")]},  # 4 and 6; the same question
        {"messages": [user("How so?"), assistant("Yes"), user("Eh?"), assistant("Yes!")]},  # 7 and 3+3+4 = 10
        {"messages": [user("When?"), assistant("Yes")]},  # 5 and 3; the same answer as the first
    ]
    figures = dataset_statistics(imported(rows).folder)
    train = figures["train"]
    assert (train.rows, train.prompts, train.repeated_prompts, train.repeated_answers) == (4, 3, 2, 2)
    assert (train.turns, train.answers) == (2 + 2 + 4 + 2, {1: 3, 2: 1})
    assert train.prompt_percentiles == {0: 4, 50: 4, 90: 7, 95: 7, 99: 7, 100: 7}
    assert train.answer_percentiles == {0: 3, 50: 3, 90: 10, 95: 10, 99: 10, 100: 10}
    assert [each for each in train.answer_histogram if each[2]] == [(3, 4, 2), (6, 7, 1), (10, 11, 1)]
    assert (figures["eval"].rows, figures["eval"].answer_histogram) == (0, ())

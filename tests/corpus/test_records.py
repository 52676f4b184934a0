"""Rows out of JSON, JSON lines, CSV and Parquet, in the shapes and encodings that people really have."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medley.corpus.records import READ_CHARACTERS, read_records
from medley.corpus.sources import inspect

WriteFile = Callable[..., Path]
ROWS = [{"prompt": "Café ☕?", "completion": "Oui"}, {"prompt": 'Two\nlines, "quoted"', "completion": "Yes"}]
CSV = 'prompt,completion\nCafé ☕?,Oui\n"Two\nlines, ""quoted""",Yes\n'
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return list(read_records(inspect(path)))


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("a.jsonl", LINES.encode(), "utf-8"),
        ("a.JSONL", LINES.encode(), "utf-8"),
        ("a.ndjson", LINES.replace("\n", "\r\n").encode(), "utf-8"),
        ("a.jsonl", LINES.rstrip("\n").encode(), "utf-8"),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES.encode(), "utf-8-sig"),
        ("a.jsonl", LINES.encode("utf-16"), "utf-16"),
        ("a.jsonl.gz", gzip.compress(LINES.encode()), "utf-8"),
        ("a.json", json.dumps(ROWS).encode(), "utf-8"),
        ("a.json", json.dumps(ROWS, indent=4).encode(), "utf-8"),
        ("a.json", json.dumps({"data": ROWS, "version": 2}).encode(), "utf-8"),
        ("a.json", LINES.encode(), "utf-8"),  # lines under the wrong ending
        ("a.jsonl", json.dumps(ROWS).encode(), "utf-8"),  # and a list
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode()), "utf-8"),
        ("a.csv", CSV.encode(), "utf-8"),
        ("a.csv", CSV.encode("utf-8-sig"), "utf-8-sig"),
        ("a.csv", b"\n" + CSV.encode() + b"\n\n", "utf-8"),
        ("a.csv.gz", gzip.compress(CSV.encode()), "utf-8"),
    ],
)
def test_the_same_rows_from_every_kind_of_text(data_file: WriteFile, name: str, content: bytes, encoding: str) -> None:
    path = data_file(name, content)
    assert rows_of(path) == ROWS
    assert inspect(path).encoding == encoding


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_with_another_separator(data_file: WriteFile, delimiter: str) -> None:
    text = f"prompt{delimiter}completion\nOne, two?{delimiter}Yes, no\n"
    assert rows_of(data_file("a.csv", text)) == [{"prompt": "One, two?", "completion": "Yes, no"}]


def test_windows_text_is_read_as_such(data_file: WriteFile) -> None:
    path = data_file("a.csv", "prompt,completion\nIs the café open?,It’s closed\n".encode("cp1252"))
    assert inspect(path).encoding == "cp1252"
    assert rows_of(path) == [{"prompt": "Is the café open?", "completion": "It’s closed"}]


def test_parquet_with_messages(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"messages": [{"role": "user", "content": f"Hi {number}"}]} for number in range(600)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert rows_of(tmp_path / "a.parquet") == rows


@pytest.mark.parametrize("length", [READ_CHARACTERS - 40, READ_CHARACTERS, 3 * READ_CHARACTERS + 7])
def test_items_that_lie_across_the_border_of_a_read(data_file: WriteFile, length: int) -> None:
    rows = [{"a": "x" * length, "b": [1.5e-7, None, True, '\N{PILE OF POO}\\"']} for _ in range(4)]
    for start in range(20):  # every part of an item stands at the border once
        path = data_file("a.json", " " * start + json.dumps(rows))
        assert rows_of(path) == rows


def test_the_quote_that_an_export_puts_before_a_formula_is_taken_off(data_file: WriteFile) -> None:
    path = data_file("a.csv", "prompt,completion\n'=SUM(A1),''- item\n'tis so,'-1\n")
    assert [list(row.values()) for row in rows_of(path)] == [["=SUM(A1)", "'- item"], ["'tis so", "-1"]]


def test_rows_come_one_at_a_time(data_file: WriteFile) -> None:
    """A damaged end must not keep the rows before it from being seen."""
    records = read_records(inspect(data_file("a.jsonl", LINES + "{")))
    assert [next(records), next(records)] == ROWS

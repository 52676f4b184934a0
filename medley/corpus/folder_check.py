"""A dataset folder that somebody else hands us as one of ours: is it what an import would have written?

An import cleans; this refuses. Every row must already be as `read_rows` promises, without marks of a chat template in
its texts, and the report must count what is there.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medley.corpus.chat_marks import row_marks
from medley.corpus.folder import SPLITS, json_line
from medley.corpus.report import ImportReport, read_report
from medley.corpus.sources import MAX_LINE_CHARACTERS
from medley.errors import DatasetError

ROLES = {"system", "user", "assistant", "tool"}
COLUMNS = {  # a dataset's kind -> the columns of its rows that hold messages
    "sft": ("prompt", "completion"),
    "preference": ("prompt", "chosen", "rejected"),
    "unpaired": ("prompt", "completion"),
    "prompts": ("prompt",),
}


def check_dataset_folder(folder: Path) -> ImportReport:
    """The report of a dataset folder whose every row was looked at.

    Raises:
        NotFoundError: no report.
        DatasetError: the first thing that no import writes: a damaged line, another row, a mark, a wrong count.
    """
    report = read_report(folder)
    if report.kind not in COLUMNS:
        raise DatasetError(f"dataset.json says that the rows are {str(report.kind)[:40]!a}, which is no kind of data.")
    for split in SPLITS:
        count = _check_split(folder / f"{split}.jsonl", report.kind)
        said = report.rows.get(split, 0) if isinstance(report.rows, Mapping) else None
        if count != said:
            raise DatasetError(f"{split}.jsonl has {count:,} rows, but dataset.json says {said}. It was changed.")
    return report


def _check_split(path: Path, kind: str) -> int:
    count = 0
    with path.open(encoding="utf-8", newline="\n") as file:
        while True:
            try:
                line = file.readline(MAX_LINE_CHARACTERS + 1)
            except UnicodeDecodeError as error:
                raise DatasetError(f"{path.name} is not UTF-8 text after line {count}.") from error
            if not line:
                return count
            count += 1
            problem = _row_problem(line, kind)
            if problem:
                raise DatasetError(f"Line {count} of {path.name} {problem}, so Medley did not write it.")


def _row_problem(line: str, kind: str) -> str:
    """What is wrong with a line, as the end of a sentence, or ""."""
    if len(line) > MAX_LINE_CHARACTERS:
        return "is too long"
    try:
        row = json.loads(line)
        is_canonical = json_line(row) == line
    except (ValueError, RecursionError):
        return "is not JSON"
    columns = COLUMNS[kind]
    wanted = {*columns, "label"} if kind == "unpaired" else set(columns)
    if not isinstance(row, dict) or not is_canonical or set(row) != wanted:
        return f"is no row of {kind} data"
    if not all(_are_messages(row[column]) for column in columns) or not isinstance(row.get("label", True), bool):
        return f"is no row of {kind} data"
    marks = row_marks(row)
    return f"holds {marks[0][0]}, a mark of a chat template" if marks else ""


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_message, value))


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"role", "content"}:
        return False
    return value["role"] in ROLES and isinstance(value["content"], str)

"""A dataset's rows back out as one file for other programs: JSON lines, CSV or Parquet."""

import csv
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medley.corpus.folder import SPLITS, read_rows, write_lines
from medley.errors import ConflictError, ParameterError, StorageError

FORMULA = re.compile(r"^'*[=+\-@\t\r]")  # what a spreadsheet would run, or our own quote before such a cell
Row = Mapping[str, Any]


def export_rows(folder: Path, out: Path, format: str | None = None) -> Path:
    """Write every row of a dataset folder into one new file and return it.

    Each row has a column `split` and the parts of its kind (see `read_rows`). JSON lines and Parquet keep the lists of
    messages; in CSV a single user or assistant turn is plain text, anything longer JSON, a label true or false. A CSV
    cell that a spreadsheet would run as a formula gets a leading quote, which an import takes away again.

    Args:
        format: "jsonl", "csv" or "parquet"; by the ending of `out` when not given.

    Raises:
        ParameterError: an unknown format.
        ConflictError: `out` is there already.
        NotFoundError, DatasetError: the folder is no dataset, or is damaged.
    """
    out = Path(out)
    name = format or out.suffix.lstrip(".").lower()
    if name not in WRITERS:
        raise ParameterError(f"format must be one of {', '.join(WRITERS)}, got {name or 'none'}.")
    if out.exists():
        raise ConflictError(f"{out.name} is there already. Choose another name.")
    rows = [{"split": split, **row} for split in SPLITS for row in read_rows(folder, split)]
    try:
        descriptor, staged = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise StorageError(f"{out.name} cannot be written: {error.strerror}.") from error
    os.close(descriptor)
    try:
        WRITERS[name](Path(staged), rows)
        Path(staged).chmod(0o644)
        Path(staged).rename(out)
    except BaseException:
        Path(staged).unlink()
        raise
    return out


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(_cells(row, columns) for row in rows)


def _cells(row: Row, columns: Sequence[str]) -> Iterator[str]:
    for name in columns:
        text = row[name] if name == "split" else _as_text(row[name], "user" if name == "prompt" else "assistant")
        yield f"'{text}" if FORMULA.match(text) else text


def _as_text(messages: Sequence[Mapping[str, str]] | bool, role: str) -> str:
    if isinstance(messages, bool):
        return str(messages).lower()
    if len(messages) == 1 and messages[0]["role"] == role and not messages[0]["content"].startswith('[{"'):
        return messages[0]["content"]
    return json.dumps(messages, ensure_ascii=False)


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)


WRITERS: dict[str, Callable[[Path, Sequence[Row]], Any]] = {
    "jsonl": write_lines,
    "csv": _write_csv,
    "parquet": _write_parquet,
}

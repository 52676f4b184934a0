"""Data files to records: one mapping of column -> value at a time, from JSON, JSON lines, CSV, TSV, text or Parquet."""

import csv
import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from medley.corpus.sources import MAX_LINE_CHARACTERS, Source, open_text, text_lines, too_long
from medley.errors import DatasetError

Record = dict[str, Any]
DELIMITERS = (",", ";", "\t")
PARQUET_BATCH_ROWS = 256
MAX_PARQUET_BYTES = 4 * 2**30  # unpacked, as the file itself declares
READ_CHARACTERS = 2**16
LONGEST_JSON_WORD = 12  # -Infinity, or an escape such as \ud83d\ude00, cut in two
JSON_WORDS = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
WRAPPED_ARRAY = re.compile(r'\s*\{\s*"(data|rows|train|examples|items)"\s*:\s*(?=\[\s*\{)')
COLUMN_NAMES = {  # a table whose first line has one of these words as a cell has a header
    *("prompt", "completion", "instruction", "input", "output", "inputs", "targets", "question", "answer", "query"),
    *("response", "text", "target", "chosen", "rejected", "label", "messages", "conversations", "system"),
}
SPREADSHEET_QUOTE = re.compile(
    r"^'+[=+\-@\t\r]"
)  # what `medley data export` puts before a cell that looks like a formula


def read_records(source: Source) -> Iterator[Record]:
    """The rows of a file as column -> value, in order, one at a time.

    Raises:
        DatasetError: the file is damaged at a line or item that the message names, or a row is too long.
    """
    readers = {
        "json": _read_json,
        "csv": _read_csv,
        "tsv": _read_tsv,
        "text": _read_text,
        "parquet": _read_parquet,
    }
    return readers[source.kind](source)


def _read_json(source: Source) -> Iterator[Record]:
    """A list of objects, an object that holds such a list, or one object a line, whatever the file's ending says."""
    with open_text(source) as text:
        head = text.read(READ_CHARACTERS)
        wrapper = WRAPPED_ARRAY.match(head)
        if wrapper or head.lstrip()[:1] == "[":
            yield from _read_array(source, text, head[wrapper.end() :] if wrapper else head.lstrip())
            return
    yield from _read_json_lines(source)


def _read_json_lines(source: Source) -> Iterator[Record]:
    for number, line in enumerate(text_lines(source), start=1):
        if not line.strip():
            continue
        place = f"Line {number} of {source.name}"
        try:
            value = json.loads(line)
        except RecursionError as error:
            raise DatasetError(f"{place} is nested too deeply.") from error
        except ValueError as error:
            raise DatasetError(f"{place} is not JSON: {_json_complaint(error)}.") from error
        yield _as_record(value, place)


def _json_complaint(error: ValueError) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _as_record(value: Any, place: str) -> Record:
    if not isinstance(value, dict):
        word = JSON_WORDS.get(type(value), "a number")
        raise DatasetError(f"{place} is {word}, not an object with columns.")
    return value


def _read_array(source: Source, text: TextIO, buffer: str) -> Iterator[Record]:
    """The objects of a JSON list, one at a time, so that a long list on one line does not fill the memory."""
    decoder, number, position, step = json.JSONDecoder(), 0, 1, READ_CHARACTERS
    while True:
        position = _skip(buffer, position, " \t\r\n," if number else " \t\r\n")
        if position < len(buffer) and buffer[position] == "]":
            return
        place = f"Item {number + 1} of {source.name}"
        try:
            value, position = decoder.raw_decode(buffer, position)
        except RecursionError as error:
            raise DatasetError(f"{place} is nested too deeply.") from error
        except ValueError as error:
            more = text.read(step) if _is_cut_off(error, buffer) else ""
            if not more:
                raise DatasetError(f"{place} is not JSON: {_json_complaint(error)}.") from error
            if len(buffer) - position > MAX_LINE_CHARACTERS:
                raise DatasetError(too_long(place)) from error
            buffer, position, step = buffer[position:] + more, 0, step * 2  # doubling keeps long items linear
            continue
        number, step = number + 1, READ_CHARACTERS
        yield _as_record(value, place)


def _is_cut_off(error: ValueError, buffer: str) -> bool:
    """True when the text may only be incomplete, not wrong."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(buffer) - LONGEST_JSON_WORD


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position


def _read_csv(source: Source) -> Iterator[Record]:
    csv.field_size_limit(MAX_LINE_CHARACTERS)  # a setting of the whole process; the default of 128 KB is too small
    lines = text_lines(source)
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    rows = csv.reader(_again(first, lines), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if len(set(header)) < len(header):
            raise DatasetError(f"The header of {source.name} names a column twice: {', '.join(header)}.")
        for cells in rows:
            if not cells:
                continue
            if len(cells) != len(header):
                raise DatasetError(
                    f"Line {rows.line_num} of {source.name} has {len(cells)} cells, but the header has {len(header)}. "
                    "Put texts that contain the separator in double quotes."
                )
            yield dict(zip(header, map(_unquoted, cells), strict=True))
    except csv.Error as error:
        raise DatasetError(f"{source.name} is not a readable CSV file near line {rows.line_num}: {error}.") from error


def _read_tsv(source: Source) -> Iterator[Record]:
    """Cells between tabs, without quotes. A first line of known column names is the header.

    Otherwise the columns are called "column 1", "column 2", …
    """
    lines = (line.rstrip("\r\n") for line in text_lines(source))
    first = next((line for line in lines if line.strip()), "")
    has_header = not COLUMN_NAMES.isdisjoint(first.split("\t"))
    names = first.split("\t") if has_header else [f"column {n}" for n in range(1, first.count("\t") + 2)]
    if len(set(names)) < len(names):
        raise DatasetError(f"The header of {source.name} names a column twice: {', '.join(names)}.")
    for number, line in enumerate(lines if has_header else _again(first, lines), start=1 + has_header):
        cells = line.split("\t")
        if line.strip() and len(cells) != len(names):
            raise DatasetError(
                f"Row {number} of {source.name} has {len(cells)} cells, but the first line has {len(names)}. "
                "Write a tab within a text as a space."
            )
        if line.strip():
            yield dict(zip(names, cells, strict=True))


def _read_text(source: Source) -> Iterator[Record]:
    """One prompt a line; empty lines say nothing."""
    for line in text_lines(source):
        if line.strip():
            yield {"prompt": line.strip()}


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _unquoted(cell: str) -> str:
    return cell[1:] if SPREADSHEET_QUOTE.match(cell) else cell


def _read_parquet(source: Source) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(source.path)
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > MAX_PARQUET_BYTES:
            raise DatasetError(f"{source.name} unpacks to more than {MAX_PARQUET_BYTES // 2**30} GB. Split it.")
        for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DatasetError(f"{source.name} is not a readable Parquet file: {reason}") from error

"""A data file on disk before anybody reads rows from it: its kind, its encoding, its digest, its limits.

Files are read in pieces from start to end, never whole: a line of 100 MB or an archive that unpacks without end is
refused with a sentence, and memory stays flat.
"""

import codecs
import contextlib
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from medley.errors import DatasetError, NotFoundError

MAX_LINE_CHARACTERS = 4 * 2**20  # one row; about a million tokens
MAX_FILE_BYTES = 4 * 2**30  # after unpacking
MAX_GZIP_RATIO = 200  # text shrinks 3 to 20 times; only emptiness shrinks more
SMALL_BYTES = 64 * 2**20  # below this the ratio does not matter
CHUNK_BYTES = 2**20
MAX_LEGACY_SHARE = 0.1  # accented letters in a Western text; more means another alphabet, which we would misread

Kind = Literal["json", "csv", "tsv", "text", "parquet"]
KINDS: dict[str, Kind] = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".parquet": "parquet",
}
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
UTF8_CHARACTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
NOT_ASCII = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True)
class Source:
    """A file that was looked at from start to end.

    Attributes:
        name: the file's name without its folder, as messages and reports show it.
        encoding: "utf-8", "utf-8-sig", "utf-16" or "cp1252"; "" for Parquet.
        sha256: of the file as it lies there.
    """

    path: Path
    name: str
    kind: Kind
    is_gzip: bool
    encoding: str
    sha256: str


def inspect(path: Path) -> Source:
    """The file's kind, digest and encoding.

    Raises:
        NotFoundError: there is no such file.
        DatasetError: an unknown ending, a damaged archive, mixed encodings, not text, or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    kind, is_gzip = kind_of(path.name)
    if kind is None:
        raise DatasetError(
            f"{path.name} has an ending that Medley does not read. "
            "Known: .json, .jsonl, .ndjson, .csv, .tsv, .txt (each also with .gz) and .parquet."
        )
    encoding = "" if kind == "parquet" else _encoding(path, is_gzip)
    return Source(path, path.name, kind, is_gzip, encoding, _digest(path))


def kind_of(name: str) -> tuple[Kind | None, bool]:
    """(kind, is it packed with gzip) of a file name; the kind is None when Medley does not read such files."""
    suffixes = Path(name.lower()).suffixes
    is_gzip = suffixes[-1:] == [".gz"]
    kind = KINDS.get("".join(suffixes[-2:-1] if is_gzip else suffixes[-1:]))
    return (None if is_gzip and kind == "parquet" else kind), is_gzip


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def open_bytes(path: Path, is_gzip: bool) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked; a damaged archive is a DatasetError."""
    with path.open("rb") as plain:
        try:
            yield gzip.GzipFile(fileobj=plain) if is_gzip else plain
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DatasetError(f"{path.name} is a damaged gzip archive ({error}). Download it again.") from error


@contextlib.contextmanager
def open_text(source: Source) -> Iterator[io.TextIOWrapper]:
    """The file's text, decoded; line ends are kept as they are."""
    with open_bytes(source.path, source.is_gzip) as file:
        yield io.TextIOWrapper(file, encoding=source.encoding, newline="")


def text_lines(source: Source) -> Iterator[str]:
    """The lines of a text file, each with its line end.

    Raises:
        DatasetError: a line longer than MAX_LINE_CHARACTERS; the rest of it is not read.
    """
    with open_text(source) as text:
        number = 0
        while line := text.readline(MAX_LINE_CHARACTERS + 1):
            number += 1
            if len(line) > MAX_LINE_CHARACTERS:
                raise DatasetError(too_long(f"Line {number} of {source.name}"))
            yield line


def too_long(what: str) -> str:
    """The sentence for a row that cannot be a conversation."""
    limit = f"{MAX_LINE_CHARACTERS / 2**20:.0f} million characters"
    return f"{what} is longer than {limit}. A row holds one conversation: split the file, or take the row out."


def _encoding(path: Path, is_gzip: bool) -> str:
    """How to decode the file; looks at every byte.

    Raises:
        DatasetError: not text, two encodings in one file, or one that cannot be told.
    """
    with open_bytes(path, is_gzip) as file:
        head = file.read(4)
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), "utf-8")
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with open_bytes(path, is_gzip) as file:
            for chunk in _chunks(file, path, is_gzip):
                if encoding == "utf-8" and b"\0" in chunk:
                    raise DatasetError(f"{path.name} is not a text file: it contains zero bytes. Save it as UTF-8.")
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise DatasetError(f"{path.name} begins as {encoding}, but is damaged further on.") from None
        return _legacy_encoding(path, is_gzip)
    return encoding


def _chunks(file: BinaryIO, path: Path, is_gzip: bool) -> Iterator[bytes]:
    packed_bytes, seen_bytes = path.stat().st_size, 0
    while chunk := file.read(CHUNK_BYTES):
        seen_bytes += len(chunk)
        if seen_bytes > MAX_FILE_BYTES:
            raise DatasetError(f"{path.name} is larger than {MAX_FILE_BYTES // 2**30} GB. Split it.")
        if is_gzip and seen_bytes > max(SMALL_BYTES, MAX_GZIP_RATIO * packed_bytes):
            raise DatasetError(
                f"{path.name} unpacks to more than {MAX_GZIP_RATIO} times its size. That is not a dataset."
            )
        yield chunk


def _legacy_encoding(path: Path, is_gzip: bool) -> str:
    """ "cp1252" (Windows, Western Europe) for a file that is that throughout; anything else is refused."""
    utf8_line, other_line, high_bytes, all_bytes, number = 0, 0, 0, 0, 0
    with open_bytes(path, is_gzip) as file:
        while line := file.readline(MAX_LINE_CHARACTERS):
            number += 1
            all_bytes += len(line)
            high_bytes += len(NOT_ASCII.findall(line))
            if UTF8_CHARACTER.search(line):
                utf8_line = utf8_line or number
            if not _is(line, "utf-8"):
                other_line = other_line or number
                if not _is(line, "cp1252"):
                    high_bytes = all_bytes
                    break
    if utf8_line and other_line:
        raise DatasetError(
            f"{path.name} mixes encodings: line {utf8_line} is UTF-8, line {other_line} is not. "
            "Save the whole file as UTF-8."
        )
    if high_bytes > MAX_LEGACY_SHARE * all_bytes:
        raise DatasetError(f"{path.name} is not UTF-8 from line {other_line} on. Save the file as UTF-8.")
    return "cp1252"


def _is(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True

"""Zip archives in and out. A zip from elsewhere is read entry by entry; nothing is ever extracted under its own path.

Only the names that `allow_list` takes are copied, under those names, so a path that climbs out has nowhere to go; it
is refused all the same, as are links, encryption, duplicates and sizes that cannot be true.
"""

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hub.allow_list import MAX_ENTRIES, Entry
from hub.names import quoted
from medley.errors import AdapterFormatError, NotFoundError

MAX_DIRECTORY_BYTES = 4 * 1024 * 1024
MAX_RATIO = 200  # weights hardly compress; factors of zeros do, by half
RATIO_COUNTS_FROM = 64 * 1024 * 1024
ZIP_START, ZIP_EMPTY = b"PK\x03\x04", b"PK\x05\x06"
NAME_PART = re.compile(r"[^\\:\x00-\x1f\x7f]{1,255}")
DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    struct.error,
    zlib.error,
)
FIXED_TIME = (1980, 1, 1, 0, 0, 0)


class _Refused(Exception):
    """Why an archive is not acceptable; `open_archive` adds its name."""


class _CappedFile(io.FileIO):
    """A file that refuses huge single reads: zipfile reads the whole list of entries in one."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:  # all that is left: zipfile does so near the end of the file
            size = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        if size > MAX_DIRECTORY_BYTES:
            raise _Refused(f"its list of entries has more than {MAX_DIRECTORY_BYTES:,} bytes.")
        return super().read(size)


@contextmanager
def open_archive(path: Path) -> Iterator[list[Entry]]:
    """The entries of a zip, a single top folder taken away; their `open` works inside the block.

    Raises:
        NotFoundError: there is no such file.
        AdapterFormatError: not a zip, or one that is damaged or could do harm.
    """
    label = quoted(path.name)
    with _open_file(path) as file:
        try:
            archive = zipfile.ZipFile(file)
            entries = _list_entries(archive)
        except _Refused as error:
            raise AdapterFormatError(f"{label} cannot be imported: {error}") from error
        except DAMAGE as error:
            raise AdapterFormatError(f"{label} is a damaged zip archive: {_one_line(error)}.") from error
        with archive:
            yield entries


def _open_file(path: Path) -> io.FileIO:
    try:
        file = _CappedFile(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file or folder {quoted(str(path))}.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise AdapterFormatError(f"{quoted(path.name)} cannot be read: {reason}.") from error
    is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    if not is_file or file.read(4) not in (ZIP_START, ZIP_EMPTY):
        file.close()
        raise AdapterFormatError(f"{quoted(path.name)} is neither a folder nor a zip archive.")
    return file


def _one_line(error: Exception) -> str:
    return ascii(str(error))[1:-1][:200].rstrip(".") or type(error).__name__


def _list_entries(archive: zipfile.ZipFile) -> list[Entry]:
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise _Refused(f"it holds {len(infos):,} entries; at most {MAX_ENTRIES:,} are accepted.")
    seen: set[str] = set()
    for info in infos:
        _check_info(info)
        if info.filename in seen:
            raise _Refused(f"{quoted(info.filename)} is in it twice.")
        seen.add(info.filename)
    prefix = _single_top_folder(info.filename for info in infos)
    entries = [_to_entry(archive, info, info.filename.removeprefix(prefix)) for info in infos]
    return sorted((entry for entry in entries if entry.path), key=lambda entry: entry.path)


def _check_info(info: zipfile.ZipInfo) -> None:
    """Refuse an entry whose name, flags or sizes no honest archive of an adapter has."""
    name = info.orig_filename  # before zipfile cut it at a NUL
    shown = quoted(name)
    parts = name.removesuffix("/").split("/")
    if not all(NAME_PART.fullmatch(part) and part not in {".", ".."} for part in parts):
        raise _Refused(f"the entry {shown} has a path that leads out of the archive or is no name.")
    if info.flag_bits & 0x41:
        raise _Refused(f"the entry {shown} is encrypted. Make an archive without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Refused(f"the entry {shown} is compressed in an unusual way. Use plain zip (deflate).")
    if info.file_size > RATIO_COUNTS_FROM and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        raise _Refused(f"the entry {shown} would unpack to {info.file_size:,} bytes, which no weights do.")


def _single_top_folder(names: Iterator[str]) -> str:
    """The folder, with '/', that holds all entries (but those that macOS adds), or ""."""
    tops = {name.partition("/")[:2] for name in names if not name.startswith("__MACOSX/")}
    (top, slash), *others = tops or {("", "")}
    return top + "/" if slash and not others else ""


def _to_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> Entry:
    def open_bytes() -> BinaryIO:
        return _EntryReader(archive, info)

    unix_kind = stat.S_IFMT(info.external_attr >> 16)
    if stat.S_ISLNK(unix_kind):
        return Entry(path, "link", info.file_size, open_bytes)
    if unix_kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return Entry(path, "special", info.file_size, open_bytes)
    return Entry(path, "folder" if info.is_dir() else "file", info.file_size, open_bytes)


class _EntryReader(io.RawIOBase):
    """An entry's bytes, which must be as many as announced and have the right checksum."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._info, self._count = info, 0
        with self._naming_damage():
            self._inner = archive.open(info)

    def read(self, size: int = -1) -> bytes:
        with self._naming_damage():
            chunk = self._inner.read(size)
        self._count += len(chunk)
        if not chunk and self._count != self._info.file_size:
            raise AdapterFormatError(f"{quoted(self._info.filename)} in the archive is shorter than it says.")
        return chunk

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            message = f"{quoted(self._info.filename)} in the archive is damaged: {_one_line(error)}."
            raise AdapterFormatError(message) from error


def write_archive(target: Path, files: Mapping[str, Path]) -> None:
    """Write a zip of these files (name inside: where it is now); same files, same bytes."""
    with zipfile.ZipFile(target, "x", zipfile.ZIP_STORED, allowZip64=True) as archive:  # weights do not compress
        for name in sorted(files):
            info = zipfile.ZipInfo(name, FIXED_TIME)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            with files[name].open("rb") as reader, archive.open(info, "w", force_zip64=True) as writer:
                while chunk := reader.read(1 << 20):
                    writer.write(chunk)

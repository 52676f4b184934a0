"""Private copies of what we take from a folder: first copied, then checked, so that nobody can swap a file in between.

Every file is opened relative to its folder's descriptor and never through a link. The one exception is a snapshot in
the Hub client's cache, whose files are links into the `blobs` folder beside it; such a link is resolved by us.
"""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hub.allow_list import ADAPTER, MAX_ENTRIES, Entry, Rules
from hub.names import quoted
from medley.errors import AdapterFormatError, NotFoundError, StorageError

CHUNK_BYTES = 1 << 20
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
BLOB_LINK = re.compile(r"\.\./\.\./blobs/([0-9a-f]{40}|[0-9a-f]{64})")


@contextmanager
def open_folder(folder: Path) -> Iterator[list[Entry]]:
    """The entries of a folder's top level; their `open` works inside the block.

    Raises:
        NotFoundError: there is no such folder.
        AdapterFormatError: it cannot be read, or holds more entries than anything that we take.
    """
    real = Path(os.path.realpath(folder))
    try:
        descriptor = os.open(real, FOLDER_FLAGS)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file or folder {quoted(str(folder))}.") from error
    except OSError as error:
        raise AdapterFormatError(f"{quoted(folder.name)} cannot be read: {error.strerror}.") from error
    try:
        yield _list_entries(descriptor, _blobs_beside(real), folder.name)
    finally:
        os.close(descriptor)


def _blobs_beside(snapshot: Path) -> Path | None:
    """The blobs folder if this is a snapshot of a model in the Hub client's cache."""
    repo = snapshot.parent.parent
    return repo / "blobs" if snapshot.parent.name == "snapshots" and repo.name.startswith("models--") else None


def _list_entries(descriptor: int, blobs: Path | None, name: str) -> list[Entry]:
    entries = []
    with os.scandir(descriptor) as items:
        for item in items:
            if len(entries) == MAX_ENTRIES:
                raise AdapterFormatError(f"{quoted(name)} holds more than {MAX_ENTRIES:,} entries; not an adapter.")
            entries.append(_to_entry(descriptor, item, blobs))
    return sorted(entries, key=lambda entry: entry.path)


def _to_entry(descriptor: int, item: os.DirEntry[str], blobs: Path | None) -> Entry:
    name, details = item.name, item.stat(follow_symlinks=False)

    def open_here() -> BinaryIO:
        return _open_plain(name, descriptor)

    if stat.S_ISREG(details.st_mode):
        return Entry(name, "file", details.st_size, open_here)
    if stat.S_ISDIR(details.st_mode):
        return Entry(name + "/", "folder", 0, open_here)
    if not stat.S_ISLNK(details.st_mode):
        return Entry(name, "special", 0, open_here)
    link = BLOB_LINK.fullmatch(os.readlink(name, dir_fd=descriptor))
    if link is None or blobs is None:
        return Entry(name, "link", 0, open_here)
    return Entry(name, "file", 0, lambda: _open_blob(blobs, link[1], name))


def _open_blob(blobs: Path, digest: str, name: str) -> BinaryIO:
    try:
        folder = os.open(blobs, FOLDER_FLAGS)
    except OSError as error:
        raise AdapterFormatError(f"{quoted(name)} points into a Hub cache without a blobs folder.") from error
    try:
        return _open_plain(digest, folder)
    finally:
        os.close(folder)


def _open_plain(name: str, folder: int) -> BinaryIO:
    try:
        descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    except OSError as error:
        reason = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise AdapterFormatError(f"{quoted(name)} {reason}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AdapterFormatError(f"{quoted(name)} is not a regular file.")
    return open(descriptor, "rb", buffering=0)


def copy_entries(entries: Mapping[str, Entry], target: Path, rules: Rules = ADAPTER) -> dict[str, Path]:
    """Copy files into `target` (which exists) under their names; no file grows beyond what its name may have.

    Args:
        rules: those that the entries were sorted by.

    Raises:
        AdapterFormatError: a file is larger than it said or than is accepted.
        StorageError: no space or permission for the copies.
    """
    wanted, free = sum(entry.size_bytes for entry in entries.values()), shutil.disk_usage(target).free
    if wanted > free:
        raise StorageError(
            f"The copy needs {wanted:,} bytes, but only {free:,} are free in {target.parents[1]}. "
            "Make room there, or set TMPDIR or MEDLEY_HOME to another disk."
        )
    for name, entry in entries.items():
        with entry.open() as reader:
            _copy(reader, target / name, rules.max_bytes(name) or 0)
    return {name: target / name for name in entries}


def _copy(reader: BinaryIO, target: Path, most: int) -> None:
    size = 0
    try:
        with target.open("xb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                size += len(chunk)
                if size > most:
                    raise AdapterFormatError(f"{quoted(target.name)} has more than {most:,} bytes.")
                writer.write(chunk)
    except OSError as error:
        raise StorageError(f"{quoted(target.name)} could not be copied: {error.strerror}.") from error

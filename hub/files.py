"""Files of a version on disk: listed, hashed, copied durably, made read-only, removed. Knows nothing of names or SQL.

A version holds plain files and folders. Links, FIFOs and devices are refused, and a file that is swapped for one
between looking and opening is refused as well, because the open file itself is checked.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hub.manifest import FileEntry
from hub.names import quoted
from medley.errors import NotFoundError, StorageError

CHUNK_BYTES = 1 << 20
FILE_MODE, FOLDER_MODE = 0o444, 0o555


def list_files(folder: Path) -> list[str]:
    """The paths of all files below a folder, with '/', sorted; empty folders do not count.

    Raises:
        NotFoundError: there is no such folder.
        StorageError: something that is not a plain file or folder, or a path that is not Unicode.
    """
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder {quoted(str(folder))}.")
    return sorted(path for path, mode in walk(folder) if _is_plain_file(path, mode))


def _is_plain_file(path: str, mode: int) -> bool:
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = "symbolic link" if stat.S_ISLNK(mode) else "special file"
        raise StorageError(f"{quoted(path)} is a {what}; a version holds plain files only.")
    if any("\ud800" <= character <= "\udfff" for character in path):
        raise StorageError(f"The file name {quoted(path)} is not valid Unicode. Rename the file.")
    return stat.S_ISREG(mode)


def walk(folder: Path, prefix: str = "") -> Iterator[tuple[str, int]]:
    """(path, mode) of everything below a folder, links not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            yield prefix + entry.name, mode
            if stat.S_ISDIR(mode):
                yield from walk(folder / entry.name, f"{prefix}{entry.name}/")


def open_plain(path: Path) -> BinaryIO:
    """The file open for reading; a link, FIFO or device raises StorageError (and a FIFO does not block)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise StorageError(f"{quoted(path.name)} is a symbolic link; a version holds plain files only.") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"{quoted(path.name)} is not a plain file.")
    return open(descriptor, "rb", buffering=0)


def hash_file(path: Path) -> tuple[int, str]:
    """(size in bytes, sha256) of a plain file."""
    import hashlib

    digest, size = hashlib.sha256(), 0
    with open_plain(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def copy_files(source: Path, target: Path) -> tuple[FileEntry, ...]:
    """Copy a folder's files into a new folder and hash what was written; on disk when this returns.

    Files come out with mode 0444 and folders below `target` with 0555; `target` itself stays writable, since a folder
    that cannot be written cannot be renamed into place.
    """
    paths = list_files(source)
    if not paths:
        raise NotFoundError(f"The folder {quoted(str(source))} holds no files, so there is nothing to publish.")
    target.mkdir()
    folders = sorted({str(parent) for path in paths for parent in Path(path).parents if parent != Path(".")})
    for folder in folders:  # sorted: a parent comes before its children
        (target / folder).mkdir()
    entries = tuple(_copy_file(source / path, target / path, path) for path in paths)
    for folder in reversed(folders):
        os.chmod(target / folder, FOLDER_MODE)
        sync_folder(target / folder)
    sync_folder(target)
    return entries


def _copy_file(source: Path, target: Path, path: str) -> FileEntry:
    import hashlib

    digest, size = hashlib.sha256(), 0
    with open_plain(source) as reader, target.open("xb", buffering=0) as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            _write_all(writer, chunk)
        os.fchmod(writer.fileno(), FILE_MODE)
        os.fsync(writer.fileno())
    return FileEntry(path, size, digest.hexdigest())


def _write_all(writer: BinaryIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:  # an unbuffered write may take less than it was given
        rest = rest[writer.write(rest) :]


def sync_folder(folder: Path) -> None:
    """Make the folder's own entries durable: names appear on disk only with their folder's fsync."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Remove a folder of read-only files and folders (or a stray file); nothing happens if it is not there."""
    import shutil

    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    os.chmod(folder, 0o700)
    for path, mode in walk(folder):  # a folder is opened for us before the walk goes into it
        if stat.S_ISDIR(mode):
            os.chmod(folder / path, 0o700)
    shutil.rmtree(folder)

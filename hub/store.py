"""The folder of contents: store/<ab>/<id>/, each written once, plus store/tmp for what is on its way in or out.

Three rules make it safe for any number of processes, and for a SIGKILL at any moment:
what is in tmp belongs to whoever holds the flock of its owner file, and to nobody when nobody does; a folder gets its
final name by one rename, after an fsync of all it holds; publishers hold the store's lock shared from the rename until
the database knows of it, while `gc` decides and takes away under the exclusive lock.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hub.files import FOLDER_MODE, hash_file, remove_tree, sync_folder, walk
from hub.manifest import FileEntry
from hub.names import is_id
from medley.errors import UserError

OWNER_SUFFIX = ".owner"


class DamagedContentError(Exception):
    """A folder with the right name holds the wrong files; caught by the publisher, who has the right ones."""


class Store:
    """The contents below one folder; knows ids and files, not names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tmp = root / "tmp"
        self._lock_file = root / "lock"

    def create(self) -> None:
        """Make the folders that are not there yet."""
        if not self.tmp.is_dir():
            self.tmp.mkdir(parents=True, exist_ok=True)
            sync_folder(self.root)
            sync_folder(self.root.parent)

    def path_of(self, content_id: str) -> Path:
        """Where a content is, or would be."""
        return self.root / content_id[:2] / content_id

    def ids(self) -> Iterator[str]:
        """The ids of all contents on disk, known to the database or not."""
        for shelf in os.scandir(self.root):
            if len(shelf.name) == 2 and shelf.is_dir(follow_symlinks=False):
                yield from (entry.name for entry in os.scandir(shelf.path) if is_id(entry.name))

    def size_bytes(self, content_id: str) -> int:
        """What the files of a content take."""
        folder = self.path_of(content_id)
        if folder.is_symlink() or not folder.is_dir():
            return 0
        return sum((folder / path).lstat().st_size for path, mode in walk(folder) if stat.S_ISREG(mode))

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Held by publishers, many at once; `gc` waits for them."""
        with _flock(self._lock_file, fcntl.LOCK_SH):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held while contents are taken away or replaced."""
        with _flock(self._lock_file, fcntl.LOCK_EX):
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A path in tmp for the block's own folder; whatever is there at the end is removed."""
        descriptor = folder = None
        while descriptor is None:  # a sweep may take a fresh owner file before we hold it; then we take another
            folder = self.tmp / os.urandom(16).hex()
            descriptor = _own(folder, os.O_CREAT | os.O_EXCL)
        try:
            yield folder
        finally:
            _drop(folder, descriptor)

    def sweep(self) -> None:
        """Remove what dead processes left in tmp; what a living one owns stays."""
        for key in {name.removesuffix(OWNER_SUFFIX) for name in os.listdir(self.tmp)}:
            folder = self.tmp / key
            try:
                descriptor = _own(folder, os.O_CREAT)
            except PermissionError:  # another user's, in a home that several share
                continue
            if descriptor is not None:
                _drop(folder, descriptor)

    def place(self, staged: Path, content_id: str, files: tuple[FileEntry, ...]) -> Path:
        """Rename a staged folder to its final place, or adopt the same content if it is there already.

        Call it under `shared()` and let the database know before the lock is given back.

        Raises:
            DamagedContentError: the folder exists and holds something else; see `replace`.
        """
        target = self.path_of(content_id)
        if not target.parent.is_dir():
            target.parent.mkdir(exist_ok=True)
            sync_folder(self.root)
        try:
            os.rename(staged, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            if compare(target, files):
                raise DamagedContentError(content_id) from error
        os.chmod(target, FOLDER_MODE)
        sync_folder(target.parent)  # also when adopting: its first publisher may have died before this line
        return target

    def replace(self, staged: Path, content_id: str, files: tuple[FileEntry, ...]) -> Path:
        """Put a staged folder in the place of a damaged one; call it under `exclusive()`."""
        target = self.path_of(content_id)
        if os.path.lexists(target) and compare(target, files):
            self.discard(content_id)
        return self.place(staged, content_id, files)

    def discard(self, content_id: str) -> None:
        """Take a content away; call it under `exclusive()`. Its name is free at once, its files a moment later."""
        target = self.path_of(content_id)
        with self.staging() as grave:
            if not target.is_symlink():
                os.chmod(target, 0o755)  # renaming a folder to another parent writes its '..'
            os.rename(target, grave)


def compare(folder: Path, files: tuple[FileEntry, ...]) -> list[tuple[str, str]]:
    """(path, what) of every difference between a folder and what it should hold; path "" is the folder itself.

    `what` is "missing", "changed" (other bytes, or no longer a plain file), "unreadable" or "extra".
    """
    if not os.path.lexists(folder):
        return [("", "missing")]
    if folder.is_symlink() or not folder.is_dir():
        return [("", "changed")]
    expected = {entry.path: entry for entry in files}
    folders = {parent.as_posix() for path in expected for parent in Path(path).parents}
    try:
        found = {path for path, mode in walk(folder) if not (path in folders and stat.S_ISDIR(mode))}
    except OSError:
        return [("", "unreadable")]
    differences = [(path, what) for path, entry in expected.items() if (what := _state(folder / path, entry))]
    differences += [(path, "extra") for path in found - expected.keys()]
    return sorted(differences)


def _state(path: Path, entry: FileEntry) -> str:
    try:
        return "" if hash_file(path) == (entry.size_bytes, entry.sha256) else "changed"
    except FileNotFoundError:
        return "missing"
    except UserError:  # a link, FIFO or device where the file was
        return "changed"
    except NotADirectoryError:
        return "missing"
    except OSError:
        return "unreadable"


@contextmanager
def _flock(path: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)  # gives the lock back


def _own(folder: Path, flags: int) -> int | None:
    """The locked owner file of a folder in tmp, or None if somebody else has it."""
    owner = f"{folder}{OWNER_SUFFIX}"
    descriptor = os.open(owner, os.O_RDWR | os.O_CLOEXEC | flags, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = os.fstat(descriptor).st_nlink > 0  # else it was removed between our open and our lock
    except BlockingIOError:
        is_ours = False
    if is_ours:
        return descriptor
    os.close(descriptor)
    return None


def _drop(folder: Path, descriptor: int) -> None:
    try:
        remove_tree(folder)
        os.unlink(f"{folder}{OWNER_SUFFIX}")
    finally:
        os.close(descriptor)

"""A folder that appears whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medley.errors import ConflictError, StorageError

SUFFIX = ".merging"


@contextmanager
def staged_folder(out_dir: Path) -> Iterator[Path]:
    """A temporary folder beside `out_dir` that is renamed to it at the end, and removed after any exception.

    A process that is killed leaves the temporary folder; the next merge to the same place removes it, or whoever knows
    of the kill, by `remove_unfinished`.

    Raises:
        ConflictError: somebody else put something at `out_dir` in the meantime.
        StorageError: the place cannot be written.
    """
    out_dir = out_dir.absolute()
    staging = _made_beside(out_dir)
    try:
        yield staging
        put_in_place(staging, out_dir)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise StorageError(f"'{out_dir}' cannot be written: {error.strerror or error}.") from error
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


@contextmanager
def scratch_folder(out_dir: Path) -> Iterator[Path]:
    """A temporary folder beside `out_dir` for what is needed on the way; it is removed at the end.

    Raises:
        StorageError: the place cannot be written.
    """
    scratch = _made_beside(out_dir.absolute())
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_unfinished(out_dir: Path, pid: int) -> None:
    """Remove what the process of that number, which was killed, had written on the way to `out_dir`."""
    for path in _made_on_the_way(out_dir):
        if _owner(path, out_dir) == str(pid):
            shutil.rmtree(path, ignore_errors=True)


def put_in_place(folder: Path, out_dir: Path) -> None:
    """Make `folder`, written to the disk to its last byte, the one at `out_dir`.

    Raises:
        ConflictError: something is there already.
    """
    for path in folder.iterdir():
        _flush_to_disk(path)
    _flush_to_disk(folder)
    _rename(folder, out_dir)


def _made_beside(out_dir: Path) -> Path:
    """A new folder beside `out_dir`, hidden and named after this process; those of killed ones go."""
    folder = out_dir.parent / f".{out_dir.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(out_dir)
        folder.mkdir()
    except OSError as error:
        raise StorageError(f"'{out_dir}' cannot be written: {error.strerror}.") from error
    return folder


def _rename(staging: Path, out_dir: Path) -> None:
    try:
        if out_dir.is_dir():
            out_dir.rmdir()  # only an empty folder lets itself be removed
        staging.rename(out_dir)
    except OSError as error:
        raise ConflictError(f"Something appeared at '{out_dir}' during the merge. Choose another place.") from error
    _flush_to_disk(out_dir.parent)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(out_dir: Path) -> None:
    for path in _made_on_the_way(out_dir):
        owner = _owner(path, out_dir)
        if owner.isdecimal() and not _is_alive(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


def _made_on_the_way(out_dir: Path) -> list[Path]:
    """The temporary folders beside `out_dir` that were to become it."""
    return [path for path in out_dir.parent.iterdir()
            if path.name.startswith(f".{out_dir.name}.") and path.name.endswith(SUFFIX)]  # fmt: skip


def _owner(path: Path, out_dir: Path) -> str:
    """The number of the process that made a temporary folder."""
    return path.name.removeprefix(f".{out_dir.name}.").partition("-")[0]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True

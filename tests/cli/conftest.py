"""The command line as a user has it: a process of its own, with an empty home."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def medley(medley_home: Path) -> Run:
    """medley("adapter", "list") runs the command and returns its exit code, stdout and stderr."""

    def run(*arguments: object, check: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "medley.cli.main", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "MEDLEY_HOME": str(medley_home), "HF_HUB_OFFLINE": "1", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
            timeout=300,
        )

    return run

"""The README's commands, run in the order a reader would type them, with an empty home."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tour() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- tour -->\n```\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return [line for line in block[1].splitlines() if line.strip()]


@pytest.mark.bundled
@pytest.mark.processes
@pytest.mark.timeout(1200)
def test_the_tour_of_the_command_line(bundled_base: Path, medley_home: Path, tmp_path: Path) -> None:
    (medley_home / "bases").mkdir(parents=True)
    (medley_home / "bases" / bundled_base.name).symlink_to(bundled_base)  # unpacked once for all tests
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for line in tour():
        program, *arguments = shlex.split(line)
        assert program == "medley"
        run = subprocess.run(
            [sys.executable, "-m", "medley.cli.main", *arguments],
            cwd=tmp_path,
            env={**os.environ, "MEDLEY_HOME": str(medley_home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, f"{line}\n{run.stdout}\n{run.stderr}"
    assert "<th>sailor" in (tmp_path / "answers.html").read_text(encoding="utf-8")


def test_every_file_the_readme_links_to_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []

"""The README's commands, run in the order a reader would type them, with an empty home."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import open_registry
from medley.jobs import add_base
from medley.lm.bundled import DEFAULT_BASE
from tests.tiny_model import TINY_BASE_ID

ROOT = Path(__file__).resolve().parents[1]


def commands(mark: str) -> list[list[str]]:
    """The arguments of each command in the block behind a mark, without the program's name."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"<!-- {mark} -->\n```\n(.*?)```", text, re.DOTALL)
    assert block is not None
    lines = [shlex.split(line, comments=True) for line in block[1].splitlines() if line.strip()]
    assert all(line[0] == "medley" for line in lines)
    return [line[1:] for line in lines]


def run_all(mark: str, folder: Path, home: Path) -> None:
    """Run the commands behind a mark, in a folder that has the examples."""
    (folder / "examples").symlink_to(ROOT / "examples")
    for arguments in commands(mark):
        run = subprocess.run(
            [sys.executable, "-m", "medley.cli.main", *arguments],
            cwd=folder,
            env={**os.environ, "MEDLEY_HOME": str(home), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, f"{arguments}\n{run.stdout}\n{run.stderr}"


@pytest.mark.processes
@pytest.mark.timeout(1200)
def test_the_tour_of_the_command_line(tiny_base: Path, medley_home: Path, tmp_path: Path) -> None:
    """The tiny base stands where the bundled one is unpacked to; on that one `medley demo` goes the same way."""
    (medley_home / "bases").mkdir(parents=True)
    (medley_home / "bases" / DEFAULT_BASE).symlink_to(tiny_base)
    run_all("tour", tmp_path, medley_home)
    assert "<th>sailor" in (tmp_path / "answers.html").read_text(encoding="utf-8")


@pytest.mark.processes
def test_the_path_from_examples_to_rewards(
    tiny_base: Path, make_adapter: Callable[..., Path], medley_home: Path, tmp_path: Path
) -> None:
    """On the tiny base: every command starts from an adapter, and takes the base that it belongs to."""
    registry = open_registry(medley_home)
    base = add_base(registry, tiny_base, "tiny", hub_id=TINY_BASE_ID)
    registry.publish("adapter", "pirate", make_adapter("pirate"), base=base.base)
    run_all("rewards", tmp_path, medley_home)
    happy = registry.get("happy-pirate")
    roles = {role: parent.label for role, parent in registry.parents(happy.id)}
    assert roles == {"base": "tiny:v1", "data": "questions:v1", "reference": "pirate:v1", "reward": "judge:v1"}


def test_every_file_the_readme_links_to_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []


def python_example() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return block[1]


def test_the_python_example_needs_no_registry_home_or_network(
    make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    """Run as it stands, in a process that must not open a socket and whose home cannot be made."""
    for seed, name in enumerate(("pirate", "tidy")):
        make_adapter(f"adapters/{name}", seed=seed)
    (tmp_path / "a file").touch()
    no_network = "import socket\ndef refuse(*_): raise AssertionError('network')\nsocket.socket.connect = refuse\n"
    run = subprocess.run(
        [sys.executable, "-c", no_network + python_example()],
        cwd=tmp_path,
        env={**os.environ, "MEDLEY_HOME": str(tmp_path / "a file" / "home"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) == pytest.approx(1, abs=1e-6)  # slerp is exact at the default rank
    assert sorted(path.name for path in (tmp_path / "out" / "sailor").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "merge_report.json",
        "recipe.yaml",
    ]

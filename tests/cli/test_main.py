"""What every command shares: help without heavy imports, exit codes, errors as one sentence."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medley.cli.main import COMMANDS

Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "peft", "gradio", "numpy", "pydantic", "rich", "huggingface_hub", "yaml")
PROBE = """
import sys
from medley.cli.main import cli
try:
    cli.main({arguments!r})
except SystemExit as done:
    print(done.code, sorted(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""


def imported_by(*arguments: str) -> str:
    code = PROBE.format(arguments=list(arguments), heavy=HEAVY)
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize("arguments", [["--help"], ["adapter", "list"], ["adapter", "list", "--json"], ["job", "list"]])
def test_help_and_lists_import_nothing_heavy(arguments: list[str]) -> None:
    assert imported_by(*arguments).splitlines()[-1] == "0 []"


def test_help_names_every_command(medley: Run) -> None:
    shown = medley("--help", check=True).stdout
    assert [name for name in COMMANDS if f"\n  {name} " not in shown] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(medley: Run, name: str) -> None:
    result = medley(name, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Usage:")


def test_an_empty_registry_lists_an_empty_array(medley: Run) -> None:
    for noun in ("adapter", "data", "base", "job"):
        result = medley(noun, "list", "--json", check=True)
        assert (noun, json.loads(result.stdout), result.stderr) == (noun, [], "")


def test_what_a_user_caused_is_one_line_and_exit_code_1(medley: Run) -> None:
    result = medley("adapter", "show", "ghost")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: There is no adapter named 'ghost'.\n"


def test_wrong_usage_is_exit_code_2(medley: Run) -> None:
    assert medley("adapter", "fly").returncode == 2
    assert medley("merge", "a", "b").returncode == 2
    assert medley("adapter", "verify").returncode == 2


def test_several_problems_stand_on_a_line_each(medley: Run) -> None:
    result = medley("merge", "--method", "ties", "--density", "1.5", "--rank", "0", "a=1", "b=1", "--name", "x")
    assert result.returncode == 1
    first, *rest = result.stderr.splitlines()
    assert first.startswith("Error: ")
    assert any("density must be in (0, 1], got 1.5." in line for line in [first, *rest])

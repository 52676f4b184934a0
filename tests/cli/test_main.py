"""What every command shares: help without heavy imports, exit codes, errors as one sentence, quiet ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medley import __version__
from medley.cli.main import COMMANDS
from medley.cli.output import harmless
from tests.cli.conftest import ROOT, Here, Run, Start, environment

HEAVY = ("torch", "transformers", "peft", "gradio", "numpy", "pydantic", "rich", "huggingface_hub", "yaml")
PROBE = """
import sys
from medley.cli.main import run
code = run({arguments!r})
print(code, sorted(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""
LIGHT = (
    ["--help"],
    ["--version"],
    ["adapter", "list"],
    ["adapter", "list", "--json"],
    ["adapter", "show", "left"],
    ["adapter", "show", "left", "--json"],
    ["adapter", "lineage", "left"],
    ["adapter", "verify", "left"],
    ["base", "list"],
    ["data", "list"],
    ["job", "list"],
    ["registry", "path"],
)


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_help_lists_and_show_import_nothing_heavy(stocked: Path, arguments: list[str]) -> None:
    code = PROBE.format(arguments=arguments, heavy=HEAVY)
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(stocked), capture_output=True, text=True, check=True
    )
    assert ran.stderr.splitlines()[-1] == "0 []", ran.stderr


def test_help_names_every_command(here: Here) -> None:
    shown = here("--help", ok=True).out
    assert [name for name in COMMANDS if f"\n  {name} " not in shown] == []
    assert here("--version", ok=True).out == f"medley, version {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_help_that_the_table_promises(here: Here, name: str) -> None:
    shown = here(name, "--help", ok=True).out
    assert shown.startswith(f"Usage: medley {name} ")


@pytest.mark.parametrize("columns", [80, 120])
def test_help_breaks_lines_at_spaces_alone(here: Here, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """`--nuslerp-` at the end of a line and `row-wise` on the next is no flag that anybody could copy."""
    monkeypatch.setenv("COLUMNS", str(columns))
    pages = [here(*words, "--help", ok=True).out for words in (["merge"], ["demo"], ["compare-types"], ["adapter"])]
    lines = [line.rstrip() for page in pages for line in page.splitlines()]
    assert [line for line in lines if line.endswith("-") or "\u2011" in line] == []
    assert max(map(len, lines)) in range(columns - 20, columns)
    assert pages[0].split("Options:\n")[1].startswith("  --name TEXT ")  # the arguments stand in the usage line


def test_a_list_of_commands_ends_no_line_in_dots(here: Here) -> None:
    shown = " ".join(here("base", "--help", ok=True).out.split())
    assert "add Record a base: a Hub id (downloaded when first used) or a local folder. list The bases" in shown


def test_an_empty_registry_lists_an_empty_array(here: Here) -> None:
    for noun in ("adapter", "data", "base", "job"):
        listed = here(noun, "list", "--json", ok=True)
        assert (noun, listed.json, listed.err) == (noun, [], "")
    assert here("adapter", "list", ok=True).err == "No adapters yet.\n"


def test_what_a_user_caused_is_one_line_and_exit_code_1(medley: Run) -> None:
    result = medley("adapter", "show", "ghost")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: There is no adapter named 'ghost'.\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["adapter", "fly"], "No such command 'fly'."),
        (["adapter", "verify"], "Give either a NAME or --all."),
        (["adapter", "list", "--limit", "0"], "Invalid value for '--limit': 0 is not in the range x>=1."),
        (["merge", "a", "b"], "Missing option '--name'."),
        (["merge", "a", "b", "--method", "ties", "--density", "0.5"], "Missing option '--name'."),
        (["merge", "r.yaml", "--method", "ties"], "A recipe file says everything itself; leave the other flags out."),
        (["train", "sft", "--data", "d"], "Missing option '--name'."),
        (["push", "a"], "Missing option '--to'."),
        (["chat"], "Missing argument 'NAME…'."),
    ],
)
def test_wrong_usage_is_exit_code_2(here: Here, tmp_path: Path, arguments: list[str], says: str) -> None:
    ended = here(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[-1] == f"Error: {says}"


def test_several_problems_stand_on_a_line_each(stocked: Path, here: Here) -> None:
    ended = here("merge", "--method", "ties", "--density", "1.5", "--rank", "0", "left=1", "right=1", "--name", "x")
    assert (ended.code, ended.out) == (1, "")
    first, *rest = ended.err.splitlines()
    assert first == f"Error: {len(rest)} problems in the recipe:"
    assert all(line.startswith("  ") for line in rest)
    assert "  density must be in (0, 1], got 1.5." in rest


def test_what_nobody_foresaw_shows_its_traceback(medley_home: Path) -> None:
    lines = ("import medley.cli.job", "medley.cli.job.print_json = None", "from medley.cli.main import run", "run({})")
    code = "\n".join(lines).format(["job", "list", "--json"])
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(medley_home), capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("Traceback (most recent call last):")
    assert ran.stderr.endswith("TypeError: 'NoneType' object is not callable\n")


def test_a_reader_that_leaves_ends_it_without_a_word(stocked: Path) -> None:
    """As `medley adapter list | head -1` does, made certain: the reading end is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [sys.executable, "-m", "medley.cli.main", "adapter", "list"],
        cwd=ROOT,
        env=environment(stocked),
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.processes
def test_ctrl_c_ends_it_without_a_word(stocked: Path, start: Start) -> None:
    conversation = start("chat", "left", stdin=subprocess.PIPE)
    assert conversation.stderr.readline() == "Ctrl-D ends the conversation.\n"
    time.sleep(0.2)
    conversation.send_signal(signal.SIGINT)
    out, err = conversation.communicate(timeout=60)
    assert (conversation.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_text_of_strangers_cannot_command_the_terminal() -> None:
    assert harmless("Ahoy\x1b[2J\r\x9b31m\x00\tmatey\n\x07") == "Ahoy[2J31m\tmatey\n"

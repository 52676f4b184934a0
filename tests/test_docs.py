"""The commands that the pages of docs/ name are there, with the flags they show."""

import re
from pathlib import Path

import click
import pytest

from medley.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "docs/course.md",
    "docs/data.md",
    "docs/merging.md",
    "docs/running.md",
    "docs/preferences.md",
    "README.md",
    "examples/README.md",
)
COMMAND = re.compile(r"(?:`|^ *)medley ([a-z][^`\n]*)", re.MULTILINE)
FLAG = re.compile(r"(?<!\S)--[a-z][a-z-]*")


def commands_of(page: str) -> list[str]:
    return COMMAND.findall((ROOT / page).read_text(encoding="utf-8"))


def resolve(text: str) -> tuple[click.Command, list[str]]:
    """The command that a line means, and the words of its name; the rest are arguments and flags."""
    command: click.Command = cli
    names: list[str] = []
    for word in text.split():
        if not isinstance(command, click.Group):
            break
        if word.endswith(".yaml") or word.isupper() or not re.fullmatch(r"[a-z-]+", word):
            break  # `medley train recipe.yaml`
        context = click.Context(command, info_name="medley")
        found = command.get_command(context, word)
        assert found is not None, f"medley {text}"
        command, names = found, [*names, word]
    return command, names


@pytest.mark.parametrize("page", PAGES)
def test_every_command_on_a_page_is_there_with_its_flags(page: str) -> None:
    lines = commands_of(page)
    assert lines, "the page names no command; is the pattern still right?"
    for line in lines:
        command, names = resolve(line)
        assert names, line
        known = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)} | {"--help"}
        if not isinstance(command, click.Group):
            assert set(FLAG.findall(line)) <= known, line

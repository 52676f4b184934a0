"""chat and compare in the terminal, on the tiny base: panes, blends, folders, files of answers."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.cli.conftest import Here, Start, assert_refused, kept_in
from tests.tiny_model import TINY_BASE_ID

SHORT = ("--max-new-tokens", "6")


def test_two_panes_and_a_blend_answer_a_prompt(stocked: Path, here: Here) -> None:
    before = kept_in(stocked)
    ended = here("chat", "left", "right:v1", "left=0.5+right=0.5", "--prompt", "Ahoy", *SHORT, ok=True)
    blocks = ended.out.split("\n\n")
    assert [block.split("\n")[0] for block in blocks[:3]] == ["left", "right:v1", "left=0.5+right=0.5"]
    alone = here("chat", "left", "--prompt", "Ahoy", *SHORT, ok=True)
    assert blocks[0] == f"left\n{alone.out.strip()}"  # a pane answers as if it were alone
    assert ended.err == ""
    assert kept_in(stocked) == before


def test_a_folder_wherever_a_name_does(stocked: Path, here: Here, make_adapter: Callable[..., Path]) -> None:
    folder = make_adapter("outside", seed=1)  # the same weights as left's
    there = here("chat", folder, "--prompt", "Ahoy", *SHORT, ok=True).out
    assert there == here("chat", "left", "--prompt", "Ahoy", *SHORT, ok=True).out


@pytest.mark.processes
def test_a_conversation_remembers_what_was_said(stocked: Path, here: Here, start: Start) -> None:
    conversation = start("chat", "left", *SHORT, stdin=PIPE)
    out, err = conversation.communicate("Ahoy\nAhoy\n", timeout=120)
    assert conversation.returncode == 0
    assert err.startswith("Ctrl-D ends the conversation.\nyou> ")
    first = here("chat", "left", "--prompt", "Ahoy", *SHORT, ok=True).out
    assert out.startswith(first)
    assert out != first + first


@pytest.mark.parametrize(
    ("panes", "says"),
    [
        (["left", "x9"], "There is no version named 'x9'."),
        (["left=heavy"], "In the pane 'left=heavy', 'heavy' is no weight. Write a number, such as a=0.6."),
        (["left+"], "The pane 'left+' has an empty part. Write it like a=0.6+b=0.4, or base."),
        (["sums"], "'sums' is a dataset, not an adapter."),
        (
            ["left", "foreign"],
            f"Adapter 'foreign:v1' was trained on org/other, but 'left:v1' on {TINY_BASE_ID}. "
            "Only adapters of one base can be compared.",
        ),
    ],
)
def test_panes_that_are_refused(stocked: Path, here: Here, panes: list[str], says: str) -> None:
    from hub import open_registry

    registry = open_registry(stocked)
    registry.publish("adapter", "foreign", registry.get("left").path, base="org/other")
    before = kept_in(stocked)
    assert_refused(here("chat", *panes, "--prompt", "Ahoy"), says=says)
    assert kept_in(stocked) == before


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "Ahoy"}\n{"prompt": "<b>Hello</b>"}\n')
    return path


def test_a_comparison_keeps_its_answers(stocked: Path, here: Here, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    ended = here("compare", "left", "base", "--prompts", prompts, "--out", out, *SHORT, ok=True)
    lines = ended.out.splitlines()
    assert lines[0].split() == ["PANE", "PIRATE", "TIDY-LIST", "BRIEF"]
    assert [line.split()[0] for line in lines[1:3]] == ["left", "base"]
    assert lines[3:] == ["", f"Wrote {out}."]
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(each["pane"], each["prompt"]) for each in answers] == [
        ("left", "Ahoy"),
        ("base", "Ahoy"),
        ("left", "<b>Hello</b>"),
        ("base", "<b>Hello</b>"),
    ]
    assert [len(each["blend"]) for each in answers] == [1, 0, 1, 0]

    page = tmp_path / "answers.html"
    found = here("compare", "left", "base", "--prompts", prompts, "--out", page, "--json", *SHORT, ok=True).json
    assert (found["prompts"], found["panes"]) == (2, ["left", "base"])
    assert set(found["behaviours"]["left"]) == {"pirate", "tidy-list", "brief"}
    html = page.read_text()
    assert "<th>left</th><th>base</th>" in html
    assert "&lt;b&gt;Hello&lt;/b&gt;" in html
    assert "<b>Hello" not in html


def test_what_is_wrong_is_told_before_a_model_is_loaded(
    stocked: Path, here: Here, prompts: Path, tmp_path: Path
) -> None:
    compare = ("compare", "left", "--prompts")
    out = tmp_path / "answers.txt"
    assert_refused(
        here(*compare, prompts, "--out", out), says="The answers are written as .jsonl or .html, got answers.txt."
    )
    gone = tmp_path / "gone" / "answers.html"
    assert_refused(here(*compare, prompts, "--out", gone), says=f"There is no folder {gone.parent}. Make it first.")
    assert_refused(here(*compare, tmp_path / "no.txt"), says=f"There is no file {tmp_path / 'no.txt'} with prompts.")
    prompts.write_text("not json\n")
    assert_refused(here(*compare, prompts), says='Line 1 of the prompts is not like {"prompt": "…"}.')
    prompts.write_text("")
    assert_refused(here(*compare, prompts), says=f"{prompts} holds no prompts: write one a line.")
    prompts.write_text('{"prompt": "Ahoy"}\n')
    assert_refused(here(*compare, prompts, "--temperature", "9"), says="temperature must be in [0, 5], got 9.0.")

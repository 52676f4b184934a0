"""The preview of a blend: which weights the engine gets, what is said of the merge, and a real answer."""

from urllib.parse import parse_qs, urlsplit

import pytest

from hub import Version
from medley.ui import merge_blend, merge_form, merge_guide
from medley.ui.answering import Answer
from medley.ui.workspace import Workspace
from merging import METHODS
from merging.guidance import ADVICE
from tests.ui.conftest import HOSTILE, assert_harmless

BOTH = ["left", "right"]


def values(method: str, weights: list[float], **own: object) -> list:
    keys = {key: own.pop(key) for key in ("rank", "space") if key in own}
    return merge_form.form_values(BOTH, weights, method, own, keys)


@pytest.mark.parametrize(
    ("method", "weights", "own", "blend"),
    [
        ("linear", [0.6, 0.2], {"normalize": True}, "left=0.75+right=0.25"),
        ("linear", [0.6, 0.2], {"normalize": False}, "left=0.6+right=0.2"),
        ("task_arithmetic", [1, -0.5], {}, "left=1+right=-0.5"),
        ("task_arithmetic", [1, -0.5], {"lambda": 0.5}, "left=0.5+right=-0.25"),
        ("slerp", [1, 1], {"t": 0.25}, "left=0.75+right=0.25"),
        ("karcher", [1, 0.2], {}, "left=0.5+right=0.5"),
        ("ties", [0.6, 0.2], {"normalize": True}, "left=0.75+right=0.25"),
    ],
)
def test_the_blend_goes_on_in_compare(
    workspace: Workspace, adapters: tuple[Version, Version], method: str, weights: list, own: dict, blend: str
) -> None:
    address, problem = merge_blend.try_address(workspace, *values(method, weights, **own))
    assert problem == ""
    assert parse_qs(urlsplit(address).query)["panes"] == [f"base,left,right,{blend}"]


@pytest.mark.parametrize(
    ("method", "own", "note"),
    [
        ("linear", {}, ""),
        ("concat", {}, ""),
        ("linear", {"rank": "2"}, "The merge will also be cut to its rank; the preview is not."),
        ("slerp", {"t": 0.5}, "The preview is the plain weighted sum; slerp will differ from it in strength."),
        (
            "ties", {},
            "The preview is the plain weighted sum; ties will differ from it in single entries or directions.",
        ),
    ],
)  # fmt: skip
def test_how_the_merge_will_differ_is_said(
    workspace: Workspace, adapters: tuple, method: str, own: dict, note: str
) -> None:
    assert merge_blend.checked_blend(workspace, values(method, [0.5, 0.5], **own))[1] == note


def test_the_blend_answers(workspace: Workspace, adapters: tuple) -> None:
    steps = list(merge_blend.ask(workspace, "What is 2 plus 2?", *values("task_arithmetic", [0.75, 0.5])))
    html, stop, run_id = steps[-1]
    assert "left=0.75+right=0.5" in html
    assert "tokens/s" in html
    assert "m-caret" not in html
    assert (stop.interactive, run_id) == (False, "")
    assert any(step[2] for step in steps)  # while it ran it could be stopped by its id
    assert_harmless(html)


@pytest.mark.parametrize(
    ("prompt", "method", "weights", "says"),
    [
        ("  ", "linear", [0.5, 0.5], "Write a prompt first."),
        ("x" * 20_001, "linear", [0.5, 0.5], "The prompt has 20001 letters; at most 20000 can be asked."),
        ("hello", "linear", [1, -1], "The weights sum to 0 and linear divides by their sum."),
    ],
)
def test_what_cannot_be_asked_is_told_in_place(
    workspace: Workspace, adapters: tuple, prompt: str, method: str, weights: list, says: str
) -> None:
    (html, _, run_id), *more = merge_blend.ask(workspace, prompt, *values(method, weights))
    assert (more, run_id) == ([], "")
    assert says in html
    assert 'role="alert"' in html


def test_an_answer_is_shown_as_text() -> None:
    for hostile in HOSTILE:
        assert_harmless(merge_blend.answer_html(Answer(text=hostile, is_done=True, new_tokens=1), hostile, hostile))


def test_every_method_has_its_place_in_the_list_and_the_guide_names_methods_that_there_are() -> None:
    choices = merge_guide.method_choices()
    assert sorted(name for _, name in choices) == sorted(METHODS)
    families = [METHODS[name].family for _, name in choices]
    assert len([i for i, family in enumerate(families) if i == 0 or families[i - 1] != family]) == len(set(families))
    assert {METHODS[name].family for name in METHODS} <= set(merge_guide.FAMILIES)
    assert {name for advice in ADVICE for name in advice.methods} <= set(METHODS)
    assert all(f"<code>{name}</code>" in merge_guide.guide_html() for advice in ADVICE for name in advice.methods)

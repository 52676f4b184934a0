"""The Compare page's handlers on a real engine: what is asked, what comes, how it stops, and that it stays text."""

from itertools import pairwise
from pathlib import Path

import pytest

from hub import Version
from medley.ui import compare_panes, compare_talk
from medley.ui.answering import STREAMS, Answer, Answering
from medley.ui.compare_panes import MAX_BLENDED, MAX_PANES
from medley.ui.workspace import Workspace
from tests.tiny_model import TINY_BASE_ID
from tests.ui.conftest import HOSTILE, assert_harmless


def chosen(*panes: list[tuple[str, float]]) -> list:
    """The values of the pane controls."""
    values: list = [len(panes)]
    for index in range(MAX_PANES):
        blend = panes[index] if index < len(panes) else []
        weights = [weight for _, weight in blend]
        values += [[name for name, _ in blend], *weights, *[1.0] * (MAX_BLENDED - len(weights))]
    return values


def sampling(**changes: object) -> list:
    return list({**{each.name: each.default for each in compare_talk.sampling_options()}, **changes}.values())


def ask(workspace: Workspace, prompt: str, *panes: list, talk: list | None = None, **settings: object) -> list[list]:
    values = [*sampling(**{"max_new_tokens": 8, **settings}), *chosen(*panes)]
    return list(compare_talk.ask(workspace, prompt, talk, "", compare_talk.THEIR_OWN, *values))


def test_panes_answer_like_the_engine_alone(workspace: Workspace, adapters: tuple) -> None:
    from medley.jobs import open_panes
    from medley.lm.sampling import Sampling

    steps = ask(workspace, "Hello", [], [("left", 1.0)], [("left", 0.6), ("right", 0.4)])
    talk = steps[-1][-2]
    alone = open_panes(workspace.registry, ["base", "left", "left=0.6+right=0.4"])
    history = [{"role": "user", "content": "Hello"}]
    expected = alone.generate([history] * 3, Sampling(max_new_tokens=8))
    assert [answer.text for answer in talk[0].answers] == [each.text for each in expected]
    assert [dict(answer.blend) for answer in talk[0].answers] == [
        {}, {adapters[0].id: 1.0}, {adapters[0].id: 0.6, adapters[1].id: 0.4}]  # fmt: skip
    html = steps[-1][2]
    assert "left=0.6+right=0.4" in html
    assert f'title="{adapters[0].id[:8]} × 0.6, {adapters[1].id[:8]} × 0.4"' in html
    assert "tokens/s" in html
    assert [button.visible for button in steps[-1][MAX_PANES : 2 * MAX_PANES]] == [False] * MAX_PANES


def test_a_conversation_goes_on_in_each_pane(workspace: Workspace, adapters: tuple) -> None:
    first = ask(workspace, "One", [], [("left", 1.0)])[-1][-2]
    second = ask(workspace, "Two", [], [("left", 1.0)], talk=first)[-1][-2]
    assert [turn.prompt for turn in second] == ["One", "Two"]
    assert compare_talk._history(second, 1, "Be kind.", "Three") == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": second[0].answers[1].text},
        {"role": "user", "content": "Two"},
        {"role": "assistant", "content": second[1].answers[1].text},
        {"role": "user", "content": "Three"},
    ]
    values = [*sampling(max_new_tokens=4), *chosen([], [("right", 1.0)])]
    again = list(compare_talk.ask_again(workspace, "", second, "", "", *values))[-1][-2]
    assert [turn.prompt for turn in again] == ["One", "Two"]
    assert again[1].labels == ["base", "right"]


def test_one_pane_can_be_stopped(workspace: Workspace, adapters: tuple) -> None:
    values = [*sampling(max_new_tokens=400, temperature=1.0), *chosen([], [("left", 1.0)])]
    last = None
    for step in compare_talk.ask(workspace, "Hello", None, "", "", *values):
        last = step
        if step[-1] in STREAMS:
            assert compare_talk.stop(0, step[-1]).visible is False
    answers = last[-2][0].answers
    assert answers[0].finish_reason in {"stopped", "stop"}
    assert answers[0].new_tokens <= answers[1].new_tokens or answers[1].finish_reason == "stop"
    assert compare_talk.stop(0, "nonsense").visible is False


def test_leaving_the_page_stops_the_engine() -> None:
    seen = []

    def stream(should_stop: object) -> object:
        from medley.lm.panes import PaneUpdate

        for count in range(100_000):
            if should_stop(0):
                seen.append(count)
                return
            yield PaneUpdate(0, "x", False, "", count, 1.0, {})

    answering = Answering(stream, 1)
    follow = answering.follow()
    next(follow)
    follow.close()
    answering._thread.join(30)
    assert len(seen) == 1


def test_answers_only_grow() -> None:
    from medley.lm.panes import PaneUpdate

    updates = [PaneUpdate(0, letter, letter == "c", "stop" if letter == "c" else "", 1, 1.0, {}) for letter in "abc"]
    texts = [answers[0].text for answers in Answering(lambda should_stop: iter(updates), 1).follow()]
    assert texts[-1] == "abc"
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


@pytest.mark.parametrize("text", HOSTILE)
def test_what_models_and_people_write_is_text(text: str) -> None:
    turn = compare_talk.Turn(text, [Answer(text, True, "stop", 3, 1.0, {text: 1.0})], [text])
    html = compare_talk._conversation([turn], 0)
    assert_harmless(html)
    assert html.count("&lt;") >= 3 or "![" in html


@pytest.mark.parametrize(
    ("prompt", "panes", "settings", "sentence"),
    [
        ("  ", [[]], {}, "Write a prompt first."),
        ("x" * 20_001, [[]], {}, "The prompt has 20001 letters"),
        ("Hi", [[("nobody", 1.0)]], {}, "There is no adapter named"),
        ("Hi", [[("/etc", 1.0)]], {}, "/etc"),
        ("Hi", [[("org/on-the-hub", 1.0)]], {}, "org/on-the-hub"),
        ("Hi", [[]], {"temperature": 9, "top_p": 0}, "temperature must be in [0, 5], got 9"),
    ],
)
def test_what_is_wrong_is_said(
    workspace: Workspace, adapters: tuple, prompt: str, panes: list, settings: dict, sentence: str
) -> None:
    last = ask(workspace, prompt, *panes, **settings)[-1]
    notice = last[2 * MAX_PANES]
    assert 'role="alert"' in notice
    assert sentence in notice.replace("&#x27;", "'")


def test_an_adapter_folder_on_the_disk_is_no_pane(workspace: Workspace, adapters: tuple, make_adapter: object) -> None:
    folder = str(make_adapter("outside"))
    notice = ask(workspace, "Hi", [(folder, 1.0)])[-1][2 * MAX_PANES]
    assert 'role="alert"' in notice


def test_panes_and_address_say_the_same(workspace: Workspace, adapters: tuple) -> None:
    text = "base,left,left=0.6+right:v1=0.4"
    panes, problem = compare_panes.from_address(workspace, text)
    assert problem == ""
    assert panes == [[], [("left", 1.0)], [("left", 0.6), ("right:v1", 0.4)]]
    assert compare_panes.to_text(*chosen(*panes)) == text
    assert compare_panes.from_address(workspace, text.replace("+", " "))[0] == panes
    assert compare_panes.from_address(workspace, "")[0] == [[], [("right", 1.0)]]
    panes, problem = compare_panes.from_address(workspace, "base,nobody")
    assert panes == [[]]
    assert "There is no adapter named" in problem


def test_the_address_may_name_the_base(workspace: Workspace, base: Version, tiny_base: Path) -> None:
    workspace.registry.publish("model", "chef", tiny_base, base=TINY_BASE_ID)
    own, nothing = compare_talk.base_dropdown(workspace, "")
    assert (own.value, nothing) == (compare_talk.THEIR_OWN, "")
    chosen, about = compare_talk.base_dropdown(workspace, "chef:v1")
    assert (chosen.value, [value for _, value in chosen.choices][-1]) == ("chef:v1", "chef:v1")
    assert "Every pane stands on chef:v1; a pane with no adapter is that model itself." in about
    unknown, problem = compare_talk.base_dropdown(workspace, "nobody")
    assert unknown.value == compare_talk.THEIR_OWN
    assert "There is no base named" in problem


def test_without_adapters_the_base_answers(workspace: Workspace) -> None:
    panes, problem = compare_panes.from_address(workspace, "")
    assert panes == [[], []]
    assert "There are no adapters yet" in problem


def test_every_adapter_has_its_slider() -> None:
    fold, *sliders = compare_panes.show_weights(["left", "right"])
    assert fold.visible
    assert not compare_panes.show_weights([])[0].visible
    assert [(each.label, each.value) for each in sliders[:2]] == [("left", 0.5), ("right", 0.5)]
    assert [each.visible for each in sliders] == [True, True, False, False]

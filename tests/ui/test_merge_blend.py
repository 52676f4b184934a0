"""The preview of a blend: which weights the engine gets, what is said of the merge, and a real answer."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import torch

from hub import Version
from medley.ui import compare_panes, merge_blend, merge_form, merge_guide
from medley.ui.answering import Answer
from medley.ui.workspace import Workspace
from merging import METHODS
from merging.guidance import ADVICE
from tests.tiny_model import TINY_BASE_ID
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
        ("ties", [0.6, 0.2], {"normalize": True}, "left=0.75+right=0.25"),
    ],
)
def test_the_blend_goes_on_in_compare(
    workspace: Workspace, adapters: tuple[Version, Version], method: str, weights: list, own: dict, blend: str
) -> None:
    address, problem = merge_blend.try_address(workspace, *values(method, weights, **own))
    assert problem == ""
    assert parse_qs(urlsplit(address).query)["panes"] == [f"base,left,right,{blend}"]


def test_more_than_compare_can_blend_is_refused_not_cut(
    workspace: Workspace, adapters: tuple[Version, Version]
) -> None:
    names = [f"copy-{number}" for number in range(5)]
    for name in names:
        workspace.registry.publish("adapter", name, adapters[0].path, base=TINY_BASE_ID)
    form = merge_form.form_values(names, [0.2] * 5, "linear", {}, {})
    address, problem = merge_blend.try_address(workspace, *form)
    assert address == ""
    assert "Compare blends at most 4 adapters live; this blend has 5." in problem
    panes, problem = compare_panes.from_address(workspace, "base," + "+".join(names))
    assert panes == [[]]
    assert "A pane blends at most 4 adapters, but " in problem


@pytest.mark.parametrize(
    ("method", "own", "note"),
    [
        ("linear", {}, ""),
        ("concat", {}, ""),
        ("linear", {"rank": "2"}, "The merge will also be cut to its rank; the preview is not."),
        ("slerp", {"t": 0.5}, merge_blend.BY_MODULE),
        ("karcher", {"rank": "2"}, f"{merge_blend.BY_MODULE} {merge_blend.NOT_CUT}"),
        (
            "model_stock", {"filter_wise": True},
            "The preview is the plain weighted sum; model_stock will differ from it in the strength of single rows or "
            "columns.",
        ),
        (
            "factor", {},
            "The preview is the plain weighted sum; factor will differ from it by terms that nobody trained.",
        ),
        (
            "ties", {},
            "The preview is the plain weighted sum; ties will differ from it in single entries or directions.",
        ),
    ],
)  # fmt: skip
def test_how_the_merge_will_differ_is_said(
    workspace: Workspace, adapters: tuple, method: str, own: dict, note: str
) -> None:
    assert merge_blend.checked_blend(workspace, values(method, [0.5, 0.5], **own)).note == note


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("slerp", {"t": 0.25}), ("nuslerp", {}), ("multislerp", {}), ("karcher", {}), ("model_stock", {}),
        ("linear", {}), ("task_arithmetic", {"lambda": 0.5}),
    ],
)  # fmt: skip
def test_the_preview_is_the_merge(
    workspace: Workspace, adapters: tuple[Version, Version], tiny_base: Path, tmp_path: Path, method: str, own: dict
) -> None:
    """The engine's logits of the weights that are previewed are those of the merged adapter."""
    from medley.lm.engine import Engine
    from medley.lm.load import load_base
    from merging import merge

    form = values(method, [0.6, 0.2], **own)
    folders = dict(zip(BOTH, (str(each.path) for each in adapters), strict=True))
    merge(merge_form.read(form).with_models(folders.__getitem__), tmp_path / "merged")
    engine = Engine(load_base(tiny_base, device="cpu", dtype="float32"))
    for key, folder in [("merged", tmp_path / "merged"), *((each.id, each.path) for each in adapters)]:
        engine.add(key, folder)
    prompt = [{"role": "user", "content": "What is 2 plus 2?"}]
    merged = engine.logits(prompt, {"merged": 1.0})
    preview = merge_blend.checked_blend(workspace, form)
    plain = {adapters[BOTH.index(name)].id: weight for name, weight in preview.blend}
    is_plain = preview.by_module is None
    torch.testing.assert_close(engine.logits(prompt, preview.by_module or plain), merged, atol=2e-5, rtol=1e-4)
    assert torch.allclose(engine.logits(prompt, plain), merged, atol=2e-5, rtol=1e-4) == is_plain
    assert is_plain == (method in ("linear", "task_arithmetic"))


def test_a_module_that_one_adapter_leaves_alone_counts_in_the_preview(
    workspace: Workspace, adapters: tuple[Version, Version], make_adapter: Callable[..., Path]
) -> None:
    """SLERP there is a straight line: 1 − t of the one delta, and nothing of the other."""
    few = make_adapter("few", seed=3, target_modules=["v_proj"])
    version = workspace.registry.publish("adapter", "few", few, base=TINY_BASE_ID)
    form = merge_form.form_values(["left", "few"], [1.0, 1.0], "slerp", {"t": 0.25}, {})
    by_module = merge_blend.checked_blend(workspace, form).by_module
    assert set(by_module[version.id]) == {f"model.layers.{layer}.self_attn.v_proj" for layer in (0, 1)}
    left = by_module[adapters[0].id]
    assert left["model.layers.0.self_attn.q_proj"] == 0.75
    assert left["model.layers.0.self_attn.v_proj"] > 0.75  # on the arc, which is outside of the line


def test_the_blend_answers(workspace: Workspace, adapters: tuple) -> None:
    steps = list(merge_blend.ask(workspace, "What is 2 plus 2?", *values("task_arithmetic", [0.75, 0.5])))
    html, stop, run_id = steps[-1]
    assert "left=0.75+right=0.5" in html
    assert merge_blend.BY_MODULE not in html
    assert "tokens/s" in html
    assert "m-caret" not in html
    assert (stop.interactive, run_id) == (False, "")
    assert any(step[2] for step in steps)  # while it ran it could be stopped by its id
    assert_harmless(html)


def test_a_blend_by_module_answers_and_says_so(workspace: Workspace, adapters: tuple) -> None:
    *_, (html, _, _) = merge_blend.ask(workspace, "What is 2 plus 2?", *values("slerp", [1, 1], t=0.25))
    assert merge_blend.BY_MODULE in html
    assert f'title="{adapters[0].id[:8]} × weights by module' in html


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

"""The Merge page's handlers: controls to recipe and back, preflight in place, pictures, the job and its result."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import gradio as gr
import pytest
import yaml

from hub import Parent
from medley.errors import ParameterError, ProblemsError, RecipeError
from medley.jobs.job import Job
from medley.ui import merge, merge_address, merge_form, merge_job
from medley.ui.merge_form import MAX_INPUTS
from medley.ui.workspace import Workspace
from merging import METHODS, parse_recipe
from merging.guidance import DEFAULT_METHOD
from tests.tiny_model import TINY_BASE_ID

BOTH = ["left", "right"]


def values(adapters: list[str], weights: list[float], method: str = "linear", **own: object) -> list:
    keys = {key: own.pop(key) for key in ("rank", "space", "variant", "seed") if key in own}
    return merge_form.form_values(adapters, weights, method, own, keys)


def test_the_form_makes_the_recipe_of_the_command_line() -> None:
    from merging import recipe_from_weights

    made = merge_form.read(values(BOTH, [0.6, 0.4], "ties", density=0.5, rank="energy:0.9", space="delta"))
    assert made == recipe_from_weights(
        "ties", [("left", 0.6), ("right", 0.4)],
        {"density": 0.5, "normalize": True, "rescale": False, "lambda": 1.0}, rank="energy:0.9", space="delta",
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_works_with_its_defaults(workspace: Workspace, adapters: tuple, method: str) -> None:
    findings, yaml, blend, name, settings = merge_form.look(workspace, *values(BOTH, [0.5, 0.5], method))
    assert 'role="alert"' not in findings, findings
    assert f"merge_method: {method}" in yaml
    saved = re.search(r'download="recipe.yaml" href="data:application/yaml;charset=utf-8,([^"]+)"', yaml)[1]
    assert parse_recipe(unquote(saved)) == merge_form.read(values(BOTH, [0.5, 0.5], method))
    assert (blend, name) == ("left=0.5+right=0.5", method)
    assert settings == ("t:0.5" if method == "slerp" else "")  # the one parameter without a default


def test_only_what_a_method_listens_to_is_shown() -> None:
    shown = merge_form.choose_anew(BOTH, "slerp", "core")
    when, groups, sliders = shown[0], shown[1 : 1 + len(METHODS)], shown[-MAX_INPUTS:]
    assert METHODS["slerp"].when.split(",")[0] in when
    assert [group.visible for group in groups] == [name == "slerp" for name in METHODS]
    assert not any(slider.visible for slider in sliders)
    shown = merge_form.choose_anew(BOTH, "linear", "core")
    assert [(slider.label, slider.value) for slider in shown[-MAX_INPUTS:][:2]] == [("left", 0.5), ("right", 0.5)]
    assert [slider.visible for slider in shown[-MAX_INPUTS:]] == [True, True] + [False] * (MAX_INPUTS - 2)
    kept = merge_form.show_method(BOTH, "linear", "core")[-MAX_INPUTS:]  # weights that the address gave stay
    assert all("value" not in slider._constructor_args[0] for slider in kept)


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_is_shown_where_the_result_depends_on_it(method: str) -> None:
    seed = merge_form.choose_anew(BOTH, method, "core")[
        3 + len(METHODS)
    ]  # after the text, the groups, space and variant
    assert seed.visible == method.startswith(("dare", "della"))


@pytest.mark.parametrize(
    ("method", "before", "offered", "chosen"),
    [
        ("ties", "delta", ["core", "delta", "knots", "compressed"], "delta"),
        ("linear", "compressed", ["core", "compressed"], "compressed"),  # "core" stands for the plain sum here
        ("linear", "knots", ["core", "compressed"], "core"),
        ("tsv", "delta", None, "core"),
        ("slerp", "compressed", None, "core"),
    ],
)
def test_a_method_offers_its_own_spaces(method: str, before: str, offered: list[str] | None, chosen: str) -> None:
    space = merge_form.choose_anew(BOTH, method, before)[1 + len(METHODS)]
    assert (space.visible, space.value) == (offered is not None, chosen)
    if offered:
        assert [value for _, value in space.choices] == offered


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties"])
def test_a_compressed_recipe_comes_back_as_it_was(workspace: Workspace, adapters: tuple, method: str) -> None:
    made = values(BOTH, [0.5, 0.5], method, space="compressed", rank="3")
    assert merge_form.read(made).to_mapping()["space"] == "compressed"
    yaml = merge_form.read(made).to_yaml()
    workspace.registry.publish("adapter", "made", adapters[0].path, base=TINY_BASE_ID, recipe=yaml)
    again = merge_form.read(merge_form.values_of_recipe(workspace, "made"))
    assert (again.named_space, again.rank.value, again.merge_method) == ("compressed", 3, method)
    findings = merge_form.look(workspace, *values(BOTH, [0.5, 0.5], method, space="compressed"))[0]
    assert "space compressed needs rank, a whole number" in findings


@pytest.mark.parametrize(
    "more",
    [
        "models: [{model: left, parameters: {weight: [0.1, 0.9]}}, {model: right, parameters: {weight: 0.5}}]",
        "models: [{model: left, parameters: {weight: 1, density: 0.5}}, {model: right, parameters: {weight: 0.5}}]",
        "models: [{model: left, parameters: {weight: 1}}, {model: right, parameters: {weight: 1}}]\ndtype: bfloat16",
        "slices: [{sources: [{model: left, layer_range: [0, 2], parameters: {weight: 1}}]}]",
    ],
)
def test_a_recipe_that_says_more_is_not_shown_as_less(workspace: Workspace, adapters: tuple, more: str) -> None:
    recipe = f"merge_method: ties\n{more}\n"
    workspace.registry.publish("adapter", "made", adapters[0].path, base=TINY_BASE_ID, recipe=recipe)
    with pytest.raises(RecipeError) as caught:
        merge_form.values_of_recipe(workspace, "made")
    assert str(caught.value) == (
        "The recipe of made:v1 says more than this form can show, for example weights by layer. "
        "The Registry page shows it whole."
    )


def test_bad_values_are_told_in_place(workspace: Workspace, adapters: tuple) -> None:
    findings = merge_form.look(workspace, *values(BOTH, [1.0, -1.0], "linear"))[0]
    assert "sum to" in findings
    assert 'role="alert"' in findings
    with pytest.raises(ProblemsError, match="density must be in"):
        merge_form.read(values(BOTH, [1, 1], "ties", density=1.5))
    with pytest.raises(ParameterError, match=r"Choose the adapters to merge\."):
        merge_form.read(values([], []))
    assert "rank must be" in merge_form.look(workspace, *values(BOTH, [1, 1], rank="big"))[0]
    assert "space must be" in merge_form.look(workspace, *values(BOTH, [1, 1], "ties", space="outer"))[0]
    assert merge_form.read(values(BOTH, [1, 1], "slerp", space="knots")).named_space is None  # left by another method


def test_a_path_is_no_adapter(workspace: Workspace, adapters: tuple, make_adapter: object) -> None:
    folder = str(make_adapter("outside"))
    for name in (folder, "./outside", "org/on-the-hub"):
        findings = merge_form.look(workspace, *values(["left", name], [1, 1]))[0]
        assert 'role="alert"' in findings
        assert merge_job.start(workspace, "x", *values(["left", name], [1, 1]))[4] != ""
    assert workspace.jobs.list() == []


def test_a_merge_becomes_a_version(workspace: Workspace, adapters: tuple) -> None:
    job_id, shown, timer, button, notice = merge_job.start(workspace, "both", *values(BOTH, [0.5, 0.5]))
    assert (notice, timer.active) == ("", True)
    assert (button.variant, button.interactive) == ("secondary", False)
    assert "progressbar" in shown
    assert workspace.jobs.wait(job_id, 120).state == "done"
    shown, timer, button = merge_job.poll(workspace, job_id)
    assert (button.variant, button.interactive) == ("secondary", True)  # the one primary button is the result's
    assert shown.count("m-primary") == 1
    assert "both:v1 is made in" in shown
    assert "100 % of the energy kept" in shown
    panes = re.search(r"\./compare\?panes=([^\"]+)", shown)[1].split("%2C")
    assert panes == ["base", "left%3Av1", "right%3Av1", "both%3Av1"]
    assert not timer.active
    request = SimpleNamespace(query_params={"recipe": "both"})
    again = merge_address.values_from_address(workspace, request)
    assert again[:3] == [["left:v1", "right:v1"], 0.5, 0.5]
    assert merge_form.recipe_notice(workspace, request) == ""
    assert merge_form.read(again).merge_method == "linear"


@pytest.mark.parametrize("order", [["left", "right"], ["right", "left"], ["c", "left", "b"], ["a", "b", "c", "left"]])
def test_the_result_stands_beside_its_parents_as_they_were_chosen(
    workspace: Workspace, adapters: tuple, order: list[str]
) -> None:
    """Four panes: the base where there is room for it, and never more parents than fit beside the result."""
    for name in "abc":
        copy = workspace.home / f"copy-{name}"
        shutil.copytree(adapters[0].path, copy)
        (copy / "note.txt").write_text(name)
        workspace.registry.publish("adapter", name, copy, base=TINY_BASE_ID)
    ids = [workspace.version(name).id for name in order]
    recipe = merge_form.read(
        values([f"sha256:{each}" for each in ids], [1.0] * len(order), "task_arithmetic")
    ).to_yaml()
    parents = [Parent(each, "input") for each in sorted(ids)]
    made = workspace.registry.publish("adapter", "made", adapters[1].path, base=TINY_BASE_ID, recipe=recipe,
                                      parents=parents)  # fmt: skip
    job = Job("merge-1", "merge", "Merge", "merge", "done", 0.0, Path("/job"), started=1.0, finished=3.0)
    shown = merge_job.result_html(workspace, replace(job, result=made.id))
    panes = unquote(re.search(r"\./compare\?panes=([^\"]+)", shown)[1]).split(",")
    assert panes == [*(["base"] if len(order) < 3 else []), *(f"{name}:v1" for name in order[:3]), "made:v1"]
    assert ("Compare with 3 of its 4 parents" in shown) == (len(order) == 4)


def test_other_jobs_of_the_page_end_with_their_own_next_steps(
    workspace: Workspace, adapters: tuple, tiny_base: Path
) -> None:
    """A full model is not compared with its parents, and a fold into a folder has no version."""
    model = workspace.registry.publish("model", "whole", tiny_base, base=TINY_BASE_ID)
    job = Job("fold-1", "fold", "Fold left into tiny", "merge", "done", 0.0, Path("/job"), started=1.0, finished=3.0)
    shown = merge_job.result_html(workspace, replace(job, result=model.id))
    assert "whole:v1 is made in 2 s." in shown
    assert re.findall(r'href="\./(\w+)', shown) == ["compare", "registry", "train", "publish"]
    assert "Fold left into tiny: done in 2 s. The model is in the folder" in merge_job.result_html(workspace, job)


def test_a_visitor_is_told_what_to_do_instead_of_a_button(workspace: Workspace, read_only: Workspace) -> None:
    def shown(of: Workspace) -> list[str]:
        with gr.Blocks() as page:
            merge.build(page, of)
        return [str(block.value) for block in page.blocks.values() if isinstance(block, gr.HTML)]

    assert len([text for text in shown(read_only) if merge.SWITCHED_OFF in text]) == 1
    assert not any(merge.SWITCHED_OFF in text for text in shown(workspace))


def test_a_merge_without_a_name_or_leave_is_refused(
    workspace: Workspace, read_only: Workspace, adapters: tuple
) -> None:
    *_, button, notice = merge_job.start(workspace, " ", *values(BOTH, [0.5, 0.5]))
    assert "Give the merge a name" in notice
    assert (button.variant, button.interactive) == ("primary", True)
    assert "Merging is switched off here" in merge_job.start(read_only, "x", *values(BOTH, [0.5, 0.5]))[4]
    assert workspace.jobs.list() == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [[], 1.0, 1.0, DEFAULT_METHOD]),
        ({"adapters": "left,right"}, [BOTH, 1.0, 1.0, DEFAULT_METHOD]),
        ({"adapters": "left,right", "method": "linear"}, [BOTH, 0.5, 0.5, "linear"]),
        ({"adapters": "left=0.6 right=0.4", "method": "ties"}, [BOTH, 0.6, 0.4, "ties"]),  # a plus arrives as a space
        ({"adapters": "left,nobody,/etc", "method": "nonsense"}, [["left"], 1.0, 1.0, DEFAULT_METHOD]),
        ({"adapters": "left=x"}, [[], 1.0, 1.0, DEFAULT_METHOD]),
        ({"recipe": "left"}, [[], 1.0, 1.0, DEFAULT_METHOD]),
    ],
)
def test_the_address_fills_the_form(workspace: Workspace, adapters: tuple, query: dict, expected: list) -> None:
    filled = merge_address.values_from_address(workspace, SimpleNamespace(query_params=query))
    assert [*filled[:3], filled[1 + MAX_INPUTS]] == expected


@pytest.mark.parametrize(
    ("method", "own", "settings"),
    [
        ("ties", {"density": 0.25, "normalize": False, "space": "delta", "rank": "8"},
         "density:0.25,normalize:false,rank:8,space:delta"),
        ("ties", {"rescale": True, "lambda": -0.5, "rank": "energy:0.99", "variant": "paper"},
         "rescale:true,lambda:-0.5,rank:energy:0.99,variant:paper"),
        ("dare_ties", {"seed": 7, "space": "compressed", "rank": "3"}, "rank:3,space:compressed,seed:7"),
        ("karcher", {"max_iter": 20, "tol": 1e-7}, "max_iter:20,tol:1e-07"),
        ("slerp", {"t": 0.25}, "t:0.25"),
    ],
)  # fmt: skip
def test_a_reload_brings_every_setting_back(
    workspace: Workspace, adapters: tuple, method: str, own: dict, settings: str
) -> None:
    form = values(BOTH, [0.6, 0.4], method, **own)
    _, _, blend, name, text = merge_form.look(workspace, *form)
    assert text == settings
    query = {"adapters": blend, "method": name, "settings": text}
    again = merge_address.values_from_address(workspace, SimpleNamespace(query_params=query))
    assert merge_form.read(again) == merge_form.read(form)


def test_settings_that_mean_nothing_stay_at_their_defaults(workspace: Workspace, adapters: tuple) -> None:
    nonsense = "density:9,normalize:perhaps,lambda,space:outer,variant:mine,seed:-1,seed,nothing:1,<script>:2"
    query = {"adapters": "left=1+right=1", "method": "ties", "settings": nonsense}
    read = merge_form.read(merge_address.values_from_address(workspace, SimpleNamespace(query_params=query)))
    assert read == merge_form.read(values(BOTH, [1.0, 1.0], "ties"))


def test_a_recipe_that_the_form_cannot_show_is_said(workspace: Workspace, adapters: tuple) -> None:
    blend = {"name": "blend", "merge_method": "linear", "models": [{"model": "left", "parameters": {"weight": 1}}]}
    last = {**blend, "name": "last", "models": [{"model": "blend", "parameters": {"weight": 1}}]}
    recipe = yaml.safe_dump_all([blend, last])
    workspace.registry.publish("adapter", "twice", adapters[0].path, base=adapters[0].base, recipe=recipe)

    def said(reference: str) -> str:
        return merge_form.recipe_notice(workspace, SimpleNamespace(query_params={"recipe": reference}))

    assert (
        "twice:v1 was not made by a single merge of adapters, so this form cannot show its recipe. The Registry page "
        "does."
    ) in said("twice")
    assert "Nobody wrote down how left:v1 was made, so there is no recipe to show." in said("left")
    assert "There is no" in said("nobody")
    assert said("") == ""

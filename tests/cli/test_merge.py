"""Merging from the command line: flags and recipes, every method once, and everything that is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hub import open_registry
from medley.cli.merge import parse_input, show_loss
from medley.errors import ParameterError
from merging import METHODS
from tests.cli.conftest import Here, assert_refused, kept_in
from tests.tiny_model import TINY_BASE_ID

PAPERS = {
    "linear": "arXiv:2203.05482",
    "slerp": "Shoemake, SIGGRAPH 1985",
    "ties": "arXiv:2306.01708",
    "dare_ties": "arXiv:2311.03099",
}


@pytest.mark.processes
def test_the_methods_of_the_demo(stocked: Path, here: Here) -> None:
    flags = {"slerp": ("left=1", "right=3"), "ties": ("left", "right", "--density", "0.5")}
    flags["dare_ties"] = ("left=0.6", "right:v1=0.4", "--density", "0.5", "--seed", "7")
    for method, paper in PAPERS.items():
        name = method.replace("_", "-")
        ended = here("merge", "--method", method, "--name", name, *flags.get(method, ("left", "right")), ok=True)
        made = open_registry(stocked).get(name)
        assert ended.out == f"Done: {name} (sha256:{made.id[:8]}).\n"  # nothing was cut, so no loss is told
        assert ended.err.endswith(f": Merge {name} ({method}) from left:v1 + right:v1\n")
        assert (made.metadata["method"], made.metadata["paper"], made.metadata["licence"]) == (method, paper, "mit")
        assert made.base == TINY_BASE_ID
    recipes = {method: yaml.safe_load(open_registry(stocked).get(method).recipe) for method in ("linear", "slerp")}
    assert [each["parameters"]["weight"] for each in recipes["linear"]["models"]] == [0.5, 0.5]
    assert recipes["slerp"]["parameters"]["t"] == 0.75

    card = here("push", "ties", "--to", "ada/ties", "--dry-run", "--json", ok=True).json["card"]
    assert "by `ties` ([arXiv:2306.01708](https://arxiv.org/abs/2306.01708)), computed without" in card
    assert "license: mit\n" in card


@pytest.mark.processes
def test_a_recipe_file_with_a_path_in_it(
    stocked: Path, here: Here, tmp_path: Path, make_adapter: Callable[..., Path]
) -> None:
    """A folder wherever a name does; without --name the result is called as the file is."""
    folder = make_adapter("outside", seed=5)
    recipe = {"merge_method": "linear", "models": [{"model": str(folder)}, {"model": "left"}]}
    for model in recipe["models"]:
        model["parameters"] = {"weight": 0.5}
    path = tmp_path / "half-and-half.yaml"
    path.write_text(yaml.safe_dump(recipe))
    made = here("merge", path, "--json", ok=True).json
    version = open_registry(stocked).get("half-and-half")
    assert (made["state"], made["result"]) == ("done", version.id)
    assert str(tmp_path) not in version.recipe


def test_what_a_cut_has_cost_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for metrics in (
        {"energy_kept": 0.8384, "error": 0.4019},
        {"energy_kept": 0.4864, "error": 3e-8},
        {"energy_kept": 1.0, "error": 3e-8},
        {},
    ):
        show_loss(metrics)
    assert capsys.readouterr().out == "Energy kept 83.8%, error 40.2%.\nEnergy kept 48.6%.\n"


def test_the_help_says_which_method_takes_which_flags(here: Here) -> None:
    text = " ".join(here("merge", "--help", ok=True).out.split())
    options, _, rest = text.partition(" Methods: ")
    methods, _, own = rest.partition(" Options of methods: ")
    assert "--method METHOD One of those below; not with a recipe file." in options
    for method in METHODS.values():
        flags = ["--" + each.name.replace("_", "-") for each in method.parameters if each.name != "weight"]
        assert f"{method.name} {method.when}" + (f" Takes {', '.join(flags)}." if flags else "") in methods
        assert all(f"{name} " in own for name in flags)
    assert "--gamma FLOAT Share of an adapter's largest entries that is dropped. For breadcrumbs and " in own
    assert "--density FLOAT Share of an adapter's entries that is kept. In (0, 1]; default 1." in own


def test_the_flags_of_a_method_reach_its_recipe(stocked: Path, here: Here) -> None:
    flags = {
        "della": ("--density", "0.5", "--epsilon", "0.2", "--no-rescale"),
        "breadcrumbs_ties": ("--density", "0.5", "--gamma", "0.1", "--normalize"),
        "sce": ("--select-topk", "0.3"),
    }
    wanted = {
        "della": {"density": 0.5, "epsilon": 0.2, "rescale": False},
        "breadcrumbs_ties": {"density": 0.5, "gamma": 0.1, "normalize": True},
        "sce": {"select_topk": 0.3},
    }
    for method, given in flags.items():
        found = here("merge", "--method", method, "left", "right", *given, "--dry-run", "--json", ok=True).json
        assert found["recipe"]["parameters"] == wanted[method]


def test_a_dry_run_writes_nothing(stocked: Path, here: Here) -> None:
    before = kept_in(stocked)
    ended = here("merge", "--method", "linear", "left", "right=0.5", "--dry-run", ok=True)
    tables = ended.out.split("\n\n")
    assert tables[0] == (
        "INPUT     RANK  MODULES  BASE\n"
        f"left:v1   4     14       {TINY_BASE_ID}\n"
        f"right:v1  4     14       {TINY_BASE_ID}"
    )
    assert re.fullmatch(
        r"Cosine of the deltas: .*\n"
        r"   ADAPTER   1         2\n"
        r"1  left:v1   \+1\.00 ██  [+-]0\.\d\d\n"
        r"2  right:v1  [+-]0\.\d\d     \+1\.00 ██",
        tables[1],
    )
    assert re.search(r"\n1  left:v1   –            0\.\d\d / 0\.\d\d\n2 ", tables[2])
    assert re.search(r"^LAYER  1 +2 +RESULT\n0 .*\n1 .*$", tables[3], re.MULTILINE)
    assert re.search(r"^ENERGY  RANK  ERROR\n90% +\d +\d+\.\d%\n95% .*\n99% .*$", tables[4], re.MULTILINE)
    assert re.fullmatch(
        r"opposed signs  \d+\.\d% ± \d\.\d% of the entries\n"
        r"time           about \d+\.\d s on this machine, \d+ threads?\n"
        r"memory         about \d+ kB at most, the libraries not counted\n"
        r"result         at most \d+ kB",
        tables[5],
    )
    assert tables[6] == "Nothing stands in the way of this merge.\n"
    found = here("merge", "--method", "linear", "left", "right=0.5", "--dry-run", "--json", ok=True).json
    assert (found["problems"], set(found["rank_plan"].values()), len(found["rank_plan"])) == ([], {8}, 14)
    assert found["diagnosis"]["names"] == ["left:v1", "right:v1"]
    assert set(found["diagnosis"]["rank_for_energy"]) == {"0.9", "0.95", "0.99"}
    assert str(stocked) not in ended.out + str(found)
    assert kept_in(stocked) == before


def test_a_merge_that_would_change_nothing_is_told(stocked: Path, here: Here) -> None:
    ended = here("merge", "--method", "task_arithmetic", "left=0", "right=0", "--dry-run", ok=True)
    assert (
        "\n\nThe result is zero: all weights are 0, or what goes in cancels. It would change nothing.\n\n" in ended.out
    )


LEFT, RIGHT = ({"model": name, "parameters": {"weight": 1.0}} for name in ("left", "right"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sede": 1}, "There is no option 'sede'. Did you mean 'seed'?"),
        ({"merge_method": "tie"}, "There is no merge method 'tie'. Did you mean 'ties'?"),
        ({"parameters": {"density": 0}}, "density must be in (0, 1], got 0.0."),
        ({"parameters": {"density": 1.5}}, "density must be in (0, 1], got 1.5."),
        ({"models": [LEFT, {**RIGHT, "model": "x9"}]}, "There is no version named 'x9'."),
        ({"models": [LEFT, {**RIGHT, "model": "sums"}]}, "'sums' is a dataset, not an adapter."),
        (
            {"models": [LEFT, {**RIGHT, "model": "foreign"}]},
            f"Adapter 'left:v1' was trained on {TINY_BASE_ID}, but 'foreign:v1' on org/other. "
            "Only adapters of one base can be merged.",
        ),
    ],
)
def test_recipes_that_are_refused(
    stocked: Path, here: Here, tmp_path: Path, make_adapter: Callable[..., Path], changes: dict, says: str
) -> None:
    foreign = make_adapter("foreign", base_id="org/other")
    open_registry(stocked).publish("adapter", "foreign", foreign, base="org/other")
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"merge_method": "ties", "models": [LEFT, RIGHT], **changes}))
    before = kept_in(stocked)
    assert_refused(here("merge", path, "--name", "x"), says=says)
    assert kept_in(stocked) == before
    assert here("merge", path, "--dry-run").code == 1


def test_flags_that_are_refused(stocked: Path, here: Here) -> None:
    before = kept_in(stocked)
    merge = ("merge", "--name", "x", "--method")
    assert_refused(here(*merge, "linear", "left=a", "right"), says="The weight of 'left' must be a number, got 'a'.")
    assert_refused(
        here(*merge, "slerp", "left=1", "right=1", "--t", "0.5"),
        says="slerp takes either t or weights, not both: with weights a and b, t is b/(a+b).",
    )
    zero_sum = here(*merge, "linear", "left=1", "right=-1")
    assert (zero_sum.code, zero_sum.out) == (1, "")
    assert "sum to" in zero_sum.err
    assert zero_sum.err.count("\n") == 1
    assert_refused(
        here("merge", "--name", "sums", "--method", "linear", "left", "right"),
        says="The name 'sums' belongs to a version of kind dataset. Choose another one.",
    )
    assert kept_in(stocked) == before


def test_what_stands_behind_a_name() -> None:
    assert parse_input("pirate") == ("pirate", None)
    assert parse_input("pirate:v3=0.4") == ("pirate:v3", 0.4)
    assert parse_input("./folder=x=-1e-2") == ("./folder=x", -0.01)
    with pytest.raises(ParameterError, match=r"^The weight of 'a' must be a number, got ''\.$"):
        parse_input("a=")

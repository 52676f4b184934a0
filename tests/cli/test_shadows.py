"""A folder that stands before a registry name: every command that takes it says so, and how to get the other."""

import shutil
from pathlib import Path

import pytest

from hub import open_registry
from medley.jobs import convert_spec, extract_spec, find_adapter, fold_spec, merge_spec
from tests.cli.conftest import Here

LEFT = (
    "'left' is the folder ./left here, not left:v1 of the registry. Write ./left to be sure of the folder, or left:v1 "
    "for the registry's."
)
TINY = LEFT.replace("left", "tiny")


@pytest.fixture
def shadowed(stocked: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an adapter in ./left and a full model in ./tiny, as two names of the registry."""
    place = tmp_path / "place"
    shutil.copytree(open_registry(stocked).get("right").path, place / "left")
    shutil.copytree(tiny_base, place / "tiny")
    monkeypatch.chdir(place)
    return place


DRY_RUNS = {
    "merge": ("merge", "--method", "linear", "left", "right"),
    "fold": ("fold", "left=0.5", "--name", "chef"),
    "convert": ("convert", "left"),
    "extract": ("extract", "tiny", "--base", "tiny"),
}


@pytest.mark.parametrize("command", DRY_RUNS)
def test_a_dry_run_says_which_of_both_it_took(shadowed: Path, here: Here, command: str) -> None:
    shown = here(*DRY_RUNS[command], "--dry-run", ok=True).out
    warning = TINY if command == "extract" else LEFT
    assert shown.startswith(f"Warning: {warning}\n")
    assert here(*DRY_RUNS[command], "--dry-run", "--json", ok=True).json["warnings"][0] == warning


def test_a_job_says_it_when_it_starts(stocked: Path, shadowed: Path) -> None:
    registry = open_registry(stocked)
    recipe = {
        "merge_method": "linear",
        "models": [{"model": name, "parameters": {"weight": 1}} for name in ("left", "right")],
    }
    assert merge_spec(registry, recipe, name="both").params["warnings"] == [LEFT]
    assert fold_spec(registry, [("left", 1.0), ("right", 1.0)], name="chef").params["warnings"] == [LEFT]
    assert convert_spec(registry, "left", name="plain").params["warnings"] == [LEFT]
    assert extract_spec(registry, "tiny", base="tiny", name="new").params["warnings"] == [TINY]


def test_panes_and_show_say_it_too(shadowed: Path, here: Here) -> None:
    assert here("adapter", "show", "left", "--json", ok=True).err == f"Warning: {LEFT}\n"
    asked = here("chat", "left", "--prompt", "Hello", "--max-new-tokens", "1", ok=True)
    assert asked.err.splitlines().count(f"Warning: {LEFT}") == 1


def test_what_is_sure_is_taken_without_a_word(stocked: Path, shadowed: Path) -> None:
    registry = open_registry(stocked)
    version, folder = find_adapter(registry, "left:v1"), find_adapter(registry, "./left")
    assert (version.label, version.warning, folder.label, folder.warning) == ("left:v1", None, "left", None)
    assert find_adapter(registry, "left").key == folder.key
    (shadowed / "left").rename(shadowed / "left:v1")
    assert find_adapter(registry, "left:v1").warning.endswith(
        f"or sha256:{registry.get('left').id[:8]} for the registry's."
    )
    (shadowed / "left:v1").rename(shadowed / "sums")
    assert find_adapter(registry, "sums").warning is None  # a dataset could not have been meant

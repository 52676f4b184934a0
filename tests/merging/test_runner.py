"""Files: what appears, what is in it, and that nothing appears when something goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medley.errors import AdapterFormatError, ConflictError, ProblemsError, StorageError
from merging import METHODS, merge, parse_documents, parse_recipe, recipe_from_weights
from merging.report import MergeReport
from merging.staging import staged_folder
from tests.merging.lora_files import BASE, SHAPES, random_factors, random_lora, write_lora
from tests.merging.promises import thinned, weights_for

FILES = ["adapter_config.json", "adapter_model.safetensors", "merge_report.json", "recipe.yaml"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pair(tmp_path: Path) -> list[tuple[Path, float]]:
    return [(random_lora(tmp_path / "in" / name, seed=seed), 0.5) for name, seed in (("pirate", 1), ("sql", 2))]


def test_the_result_holds_four_files(tmp_path: Path, pair: list[tuple[Path, float]]) -> None:
    report = merge(recipe_from_weights("linear", pair), tmp_path / "deep" / "out")
    out = tmp_path / "deep" / "out"
    assert sorted(path.name for path in out.iterdir()) == FILES
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["use_rslora"]) == (BASE, False)
    assert config["lora_alpha"] == config["r"]
    assert MergeReport.from_json((out / "merge_report.json").read_text()) == report
    assert (report.out_dir, report.seconds > 0) == (out, True)
    assert list((tmp_path / "deep").iterdir()) == [out]


def test_no_path_of_this_machine_is_written(tmp_path: Path, pair: list[tuple[Path, float]]) -> None:
    recipe = recipe_from_weights("ties", pair, {"density": 0.5})
    merge(recipe, tmp_path / "out", names={str(pair[1][0]): "sql:v3"})
    texts = [(tmp_path / "out" / name).read_text() for name in FILES if not name.endswith(".safetensors")]
    assert not any(str(tmp_path) in text for text in texts)
    saved = parse_recipe(tmp_path / "out" / "recipe.yaml")
    assert saved.models == ("pirate", "sql:v3")
    folders = {"pirate": str(pair[0][0]), "sql:v3": str(pair[1][0])}
    assert saved.with_models(folders.__getitem__) == recipe


def test_an_input_is_never_called_like_a_result(tmp_path: Path, pair: list[tuple[Path, float]]) -> None:
    sql = pair[1][0]
    first = {**recipe_from_weights("linear", pair).to_mapping(), "name": "sql"}
    merge([first, recipe_from_weights("linear", [("sql", 1.0), (sql, 1.0)]).to_mapping()], tmp_path / "out")
    saved = parse_documents(tmp_path / "out" / "recipe.yaml")
    assert [document.recipe.models for document in saved] == [("pirate", "in/sql"), ("sql", "in/sql")]


def test_the_report_names_its_inputs_by_digest(tmp_path: Path, pair: list[tuple[Path, float]]) -> None:
    import hashlib

    report = merge(recipe_from_weights("linear", pair), tmp_path / "out")
    digests = [hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest() for folder, _ in pair]
    assert [each.sha256 for each in report.inputs] == digests
    assert [(each.name, each.modules, each.max_rank) for each in report.inputs] == [("pirate", 2, 2), ("sql", 2, 2)]


def test_progress_is_told_for_every_module(tmp_path: Path, pair: list[tuple[Path, float]]) -> None:
    events: list[tuple[str, dict[str, object]]] = []
    merge(
        recipe_from_weights("ties", pair, {"int8_mask": True}),
        tmp_path / "out",
        emit=lambda kind, **fields: events.append((kind, fields)),
    )
    assert events == [
        ("warning", {"text": "int8_mask only saves memory in mergekit; it changes nothing here."}),
        ("progress", {"step": 1, "total": 2, "text": "Merging"}),
        ("progress", {"step": 2, "total": 2, "text": "Merging"}),
        ("artifact", {"path": str(tmp_path / "out")}),
    ]


def test_an_empty_folder_is_a_place_and_a_full_one_is_not(tmp_path: Path, pair: list[tuple[Path, float]]) -> None:
    (tmp_path / "empty").mkdir()
    merge(recipe_from_weights("linear", pair), tmp_path / "empty")
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == FILES
    before = (tmp_path / "empty" / "recipe.yaml").read_bytes()
    with pytest.raises(ProblemsError) as caught:
        merge(recipe_from_weights("concat", pair), tmp_path / "empty")
    place = tmp_path / "empty"
    assert (
        str(caught.value)
        == f"'{place}' exists and is not an empty folder. Choose another place; nothing is overwritten."
    )
    assert (place / "recipe.yaml").read_bytes() == before


@pytest.mark.parametrize(("number", "what"), [(float("nan"), "NaN or Infinity"), (2e30, r"a delta larger than 1e\+12")])
def test_weights_that_are_none_leave_nothing(tmp_path: Path, number: float, what: str) -> None:
    """Squares of 1e30 are infinite in float32; ties would keep nothing, and a sum would report no error."""
    name = next(iter(SHAPES))
    b, a = random_factors(*SHAPES[name], 2, 1)
    b[0, 0] = number
    broken = write_lora(tmp_path / "broken", {name: (b, a)})
    with pytest.raises(AdapterFormatError, match=rf"^'broken' holds {what} in {name}: its training went wrong\. "):
        merge(recipe_from_weights("linear", [(broken, 1.0)]), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_whoever_comes_first_keeps_the_place(tmp_path: Path) -> None:
    def race() -> None:
        with staged_folder(tmp_path / "out") as staging:
            (staging / "ours").touch()
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").touch()

    with pytest.raises(ConflictError, match=r"^Something appeared at '.*out' during the merge"):
        race()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs"]


SLOW_MERGE = """
import sys, time
from merging import merge
def emit(kind, **fields):
    print(kind, fields.get("step"), flush=True)
    time.sleep(60)
merge(sys.argv[1], sys.argv[2], emit=emit)
"""


def test_a_merge_killed_midway_leaves_nothing_at_its_place(tmp_path: Path, pair: list[tuple[Path, float]]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe_from_weights("linear", pair).to_yaml())
    out = tmp_path / "work" / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_MERGE, str(recipe), str(out)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "progress 1\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    leftovers = [path.name for path in out.parent.iterdir()]
    assert len(leftovers) == 1
    assert leftovers[0].startswith(f".out.{process.pid}-")
    merge(recipe, out)  # the next merge to the same place removes what the dead one left
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def run_in_process(recipes: list[Path], out: Path, threads: str, hash_seed: str) -> None:
    """Each recipe merged into a folder of `out` called like it, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONHASHSEED": hash_seed}
    code = "import sys; from merging import merge; [merge(each, f'{sys.argv[1]}/{each}') for each in sys.argv[2:]]"
    names = [recipe.name for recipe in recipes]
    command = [sys.executable, "-c", code, str(out), *names]
    environment["PYTHONPATH"] = str(ROOT)
    subprocess.run(command, cwd=recipes[0].parent, env=environment, check=True)


def test_same_seed_same_bytes_in_any_process_on_any_threads(tmp_path: Path) -> None:
    large = "model.layers.0.mlp.up_proj"  # so large that two threads would share the work
    small = [f"model.layers.{layer}.mlp.down_proj" for layer in range(4)]  # while another works on these
    folders = []
    for seed in (1, 2):
        modules = {large: random_factors(700, 300, 8, seed)}
        modules |= {name: random_factors(30, 40, 8, 10 * seed + index) for index, name in enumerate(small)}
        folders.append((write_lora(tmp_path / f"in-{seed}", modules, dtype=torch.bfloat16), 0.7))
    recipes = []
    for method, space in (("linear", None), ("dare_ties", "core"), ("dare_ties", "delta")):
        parameters = {"density": 0.5} if space else None
        recipe = recipe_from_weights(method, folders, parameters, space=space, seed=3, out_dtype="float32")
        recipes.append(tmp_path / f"{method}-{space}.yaml")
        recipes[-1].write_text(recipe.to_yaml())
    run_in_process(recipes, tmp_path / "one", threads="1", hash_seed="1")
    run_in_process(recipes, tmp_path / "two", threads="2", hash_seed="2")
    for recipe in recipes:
        merge(recipe, tmp_path / "here" / recipe.name)
        for file in FILES:
            bytes_by_place = {(tmp_path / place / recipe.name / file).read_bytes() for place in ("one", "two", "here")}
            assert len(bytes_by_place) == 1, (recipe.name, file)


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.family == "elementwise"])
def test_the_seed_decides_where_something_is_random(
    tmp_path: Path, pair: list[tuple[Path, float]], method: str
) -> None:
    models = list(zip((folder for folder, _ in pair), weights_for(method, [0.5, 0.5]), strict=True))
    for out, seed in (("one", 1), ("again", 1), ("two", 2)):
        merge(recipe_from_weights(method, models, seed=seed, **thinned(method, {}, 0.5)), tmp_path / out)
    one, again, two = ((tmp_path / out / "adapter_model.safetensors").read_bytes() for out in ("one", "again", "two"))
    assert one == again
    assert (one != two) == METHODS[method].is_random


def test_abandoned_folders_of_living_processes_are_left_alone(tmp_path: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    try:
        theirs = tmp_path / f".out.{sleeper.pid}-12345678.merging"
        theirs.mkdir()
        with staged_folder(tmp_path / "out"):
            time.sleep(0)
        assert theirs.is_dir()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_disk_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match=r"file/out' cannot be written: File exists\.$"),
        staged_folder(tmp_path / "file" / "out"),
    ):
        pytest.fail("there is no place to write to")

    def fill() -> None:
        with staged_folder(tmp_path / "out"):
            raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match=r"out' cannot be written: No space left on device\.$"):
        fill()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_one_folder_written_in_two_ways_is_two_inputs(tmp_path: Path) -> None:
    folder = random_lora(tmp_path / "a", seed=1)
    report = merge(recipe_from_weights("linear", [(folder, 1.0), (f"{folder}/.", 1.0)]), tmp_path / "out")
    assert [each.name for each in report.inputs] == ["a", "a (2)"]
    assert parse_recipe(tmp_path / "out" / "recipe.yaml").models == ("a", "a (2)")

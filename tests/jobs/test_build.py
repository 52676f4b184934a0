"""Specs from names: everything resolved to ids, every option written out, all that is wrong said before queueing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Registry, Version
from medley.errors import NotFoundError, ParameterError, ProblemsError, RecipeError
from medley.jobs import import_spec, merge_preflight, merge_spec, parse_spec, train_recipe_spec, train_spec
from medley.jobs.device import likely_device
from medley.options import describe
from tests.merging.lora_files import BASE, random_lora
from tests.tiny_model import TINY_BASE_ID
from trainers import SFTOptions


def problems_of(call: Callable[[], object]) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        call()
    return list(caught.value.problems)


def test_a_training_s_spec_is_self_contained(registry: Registry, base: Version, sums: Version) -> None:
    spec = train_spec(registry, "sft", base="tiny", data="sums", name="adder", options={"rank": 4, "device": "cpu"})
    assert spec.params["base"] == base.id
    assert spec.params["data"] == sums.id
    assert spec.params["init"] is None
    assert set(spec.params["options"]) == {option.name for option in describe(SFTOptions)}
    assert spec.params["options"]["rank"] == 4
    assert spec.params["options"]["learning_rate"] == 2e-4
    assert (spec.lane, spec.output_name, spec.title) == ("train:cpu", "adder", "Train adder (sft) on sums:v1")
    assert parse_spec(spec.to_yaml()) == spec


def test_a_name_that_moves_on_does_not_change_the_spec(
    registry: Registry, base: Version, sums: Version, tmp_path: Path
) -> None:
    spec = train_spec(registry, "sft", base="tiny", data="sums", name="adder")
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "train.jsonl").write_text("{}\n")
    newer = registry.publish("dataset", "sums", folder, metadata={"kind": "sft"})
    assert registry.get("sums").id == newer.id
    assert spec.params["data"] == sums.id


def test_everything_wrong_with_a_training_is_said_at_once(registry: Registry, base: Version, sums: Version) -> None:
    options = {"rank": 0, "epocs": 1}
    assert problems_of(
        lambda: train_spec(registry, "sft", base="tinny", data="sum", name="Bad Name", options=options)
    ) == [
        "The name 'Bad Name' cannot be used. Use lower-case letters, digits, '.', '_' and '-', and begin with a "
        "letter or digit.",
        "There is no base named 'tinny'. Did you mean 'tiny'?",
        "There is no dataset named 'sum'. Did you mean 'sums'?",
        "rank must be in [1, 1024], got 0.",
        "There is no option 'epocs'. Did you mean 'epochs'?",
    ]


def test_an_unknown_trainer_is_named(registry: Registry) -> None:
    with pytest.raises(ParameterError) as caught:
        train_spec(registry, "stf", data="sums", name="x")
    assert str(caught.value).startswith("There is no trainer 'stf'. Known: sft")


def test_preference_rows_are_refused_for_sft(registry: Registry, base: Version, sums: Version) -> None:
    registry.update_metadata(sums.id, kind="preference")
    assert problems_of(lambda: train_spec(registry, "sft", base="tiny", data="sums", name="x")) == [
        "sft learns from sft data, but 'sums' is preference data. Choose another dataset."
    ]


def test_a_name_of_another_kind_cannot_be_the_output(registry: Registry, base: Version, sums: Version) -> None:
    assert problems_of(lambda: train_spec(registry, "sft", base="tiny", data="sums", name="sums")) == [
        "The name 'sums' belongs to a version of kind dataset. Choose another one."
    ]
    registry.publish("report", "old", sums.path)
    registry.remove("old")  # hidden, but nothing of another kind can be published there yet
    assert problems_of(lambda: train_spec(registry, "sft", base="tiny", data="sums", name="old")) == [
        "The name 'old' belongs to a version of kind report. Choose another one."
    ]


def test_continuing_an_adapter_takes_its_base(
    registry: Registry, base: Version, sums: Version, adapters: tuple[Version, Version]
) -> None:
    spec = train_spec(registry, "sft", data="sums", name="more", init="left")
    assert (spec.params["init"], spec.params["base"]) == (adapters[0].id, base.id)
    other = registry.publish("base", "other", base.path, base="org/other")
    assert problems_of(lambda: train_spec(registry, "sft", base="other", data="sums", name="more", init="left")) == [
        f"left:v1 was trained on {TINY_BASE_ID}, but the base is {other.base}. "
        "Leave out --base, or choose another adapter."
    ]


def test_a_recipe_file_makes_a_spec(registry: Registry, base: Version, sums: Version, tmp_path: Path) -> None:
    path = tmp_path / "adder.yaml"
    path.write_text("trainer: sft\nbase: tiny\ndata: sums:v1\nname: adder\noptions: {rank: 4, learning_rate: 1e-4}\n")
    spec = train_recipe_spec(registry, path)
    assert spec.params["options"]["learning_rate"] == 1e-4
    assert spec == train_spec(
        registry, "sft", base="tiny", data="sums", name="adder", options={"rank": 4, "learning_rate": 1e-4}
    )


def test_bad_recipes_are_refused(registry: Registry, tmp_path: Path) -> None:
    assert problems_of(lambda: train_recipe_spec(registry, {"trainer": "sft", "dat": "x", "options": 3})) == [
        "There is no option 'dat'. Did you mean 'data'?",
        "'data' is missing.",
        "'name' is missing.",
        "'options' must be a mapping from names to values.",
    ]
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(RecipeError) as caught:
        train_recipe_spec(registry, path)
    assert str(caught.value) == "list.yaml is not a recipe: it must be a YAML mapping with trainer, data and name."
    with pytest.raises(NotFoundError):
        train_recipe_spec(registry, tmp_path / "absent.yaml")


def linear(*models: str) -> dict:
    return {"merge_method": "linear", "models": [{"model": name, "parameters": {"weight": 0.5}} for name in models]}


def test_a_merge_s_inputs_are_pinned_by_content(
    registry: Registry, adapters: tuple[Version, Version], make_adapter: Callable[..., Path]
) -> None:
    folder = make_adapter("local", seed=3)
    spec = merge_spec(registry, linear("left", str(folder)), name="both")
    pinned = f"sha256:{adapters[0].id}"
    assert [each["model"] for each in spec.params["recipe"]["models"]] == [pinned, "local"]
    assert spec.params["inputs"][pinned]["version"] == adapters[0].id
    assert spec.params["inputs"]["local"]["folder"] == str(folder)
    assert len(spec.params["inputs"]["local"]["weights_sha256"]) == 64
    assert str(folder) not in str(spec.params["recipe"])
    assert (spec.lane, spec.title) == ("merge", "Merge both (linear) from left:v1 + local")
    assert parse_spec(spec.to_yaml()) == spec


def test_two_folders_of_one_name_stay_apart(
    registry: Registry, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    folders = [make_adapter("a/same", seed=1), make_adapter("b/same", seed=2)]
    spec = merge_spec(registry, linear(*map(str, folders)), name="both")
    names = [each["model"] for each in spec.params["recipe"]["models"]]
    assert len(set(names)) == 2
    assert all(name.startswith("same-") for name in names)
    assert [spec.params["inputs"][name]["folder"] for name in names] == list(map(str, folders))


def test_everything_wrong_with_a_merge_is_said_at_once(registry: Registry, adapters: tuple[Version, Version]) -> None:
    assert problems_of(lambda: merge_spec(registry, linear("leftt", "rihgt"), name="con")) == [
        "The name 'con' cannot be used: Windows reserves it for a device.",
        "There is no version named 'leftt'. Did you mean 'left'?",
        "There is no version named 'rihgt'. Did you mean 'right'?",
    ]


def test_a_name_that_is_not_there_hides_nothing_of_the_others(
    registry: Registry, adapters: tuple[Version, Version], tmp_path: Path
) -> None:
    dora = random_lora(tmp_path / "dora", seed=3, use_dora=True)
    assert problems_of(lambda: merge_spec(registry, linear("left", str(dora), "rihgt"), name="all")) == [
        "There is no version named 'rihgt'. Did you mean 'right'?",
        "'dora' uses DoRA: its magnitudes only make sense with its base's weights. Make a plain LoRA of it first: "
        "medley convert.",
        f"Adapter 'left:v1' was trained on {TINY_BASE_ID}, but 'dora' on {BASE}. "
        "Only adapters of one base can be merged.",
        "model.layers.0.self_attn.q_proj is 32 x 32 in 'left:v1', but 6 x 5 in 'dora'. They belong to different bases.",
    ]


def test_what_preflight_finds_stops_the_merge(
    registry: Registry, adapters: tuple[Version, Version], make_adapter: Callable[..., Path]
) -> None:
    folder = make_adapter("foreign", seed=3, base_id="org/other")
    expected = (
        f"Adapter 'left:v1' was trained on {TINY_BASE_ID}, but 'foreign' on org/other. "
        "Only adapters of one base can be merged."
    )
    recipe = linear("left", str(folder))
    assert problems_of(lambda: merge_spec(registry, recipe, name="both")) == [expected]
    assert merge_preflight(registry, recipe).problems == (expected,)


def test_a_base_may_be_named_as_the_registry_names_it(registry: Registry, adapters: tuple[Version, Version]) -> None:
    recipe = {**linear("left", "right"), "base_model": "tiny"}
    spec = merge_spec(registry, recipe, name="both")
    assert spec.params["recipe"]["base_model"] == TINY_BASE_ID


def test_the_app_opens_no_path_that_somebody_typed(
    registry: Registry, adapters: tuple[Version, Version], make_adapter: Callable[..., Path]
) -> None:
    folder = make_adapter("local", seed=3)
    found = problems_of(lambda: merge_spec(registry, linear("left", str(folder)), name="both", may_open_paths=False))
    assert len(found) == 1
    assert found[0].startswith("The name ")


def test_an_import_s_spec_holds_its_settings(registry: Registry, rows_file: Path) -> None:
    spec = import_spec(registry, rows_file, name="sums", seed=3)
    assert spec.params == {
        "source": {"path": str(rows_file)},
        "settings": {
            "format": "auto",
            "eval_share": 0.1,
            "seed": 3,
            "turns": "all",
            "licence": None,
            "max_rows": None,
            "provenance": None,
        },
    }
    assert spec.lane == "light"
    hub = import_spec(registry, "org/rows", name="rows", split="train", revision="main")
    assert hub.params["source"] == {"hub_id": "org/rows", "split": "train", "revision": "main"}


def test_bad_sources_and_settings_are_refused(registry: Registry, sums: Version, tmp_path: Path) -> None:
    (tmp_path / "a file.jsonl").write_text("{}\n")
    assert problems_of(lambda: import_spec(registry, tmp_path, name="x")) == [
        f"{str(tmp_path)!r} is a folder. Name one of the files in it."
    ]
    for missing in ("./rows.jsonl", "data/rows.jsonl", "just-a-word"):
        assert problems_of(lambda missing=missing: import_spec(registry, missing, name="x")) == [
            f"There is no file '{missing}', and it is no Hub id (org/name) either."
        ]
    assert problems_of(lambda: import_spec(registry, tmp_path / "a file.jsonl", name="x", split="train")) == [
        "A file has no split or revision; those are for datasets on the Hub. Leave them out."
    ]
    assert problems_of(lambda: import_spec(registry, "org/rows", name="x", eval_share=1.5)) == [
        "eval_share must be in [0, 1), got 1.5."
    ]


def test_the_lane_s_device_is_the_wanted_one_or_what_is_there() -> None:
    assert likely_device("cuda") == "cuda"
    assert likely_device("auto") in ("cuda", "mps", "cpu")
    if not os.path.exists("/dev/nvidia0"):
        assert likely_device() != "cuda" or os.path.exists("/dev/kfd")

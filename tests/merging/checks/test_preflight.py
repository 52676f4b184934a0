import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medley.errors import ProblemsError
from medley.lm.adapter_schema import KINDS
from merging import merge, parse_recipe, preflight, recipe_from_weights
from merging.checks.compatibility import CONVERT_ADVICE, CONVERTIBLE, OTHER_KIND_ADVICE, OTHER_KINDS, short_names
from merging.plan import plan_modules
from tests.merging.lora_files import BASE, SHAPES, random_factors, random_lora, write_lora

ROOT = Path(__file__).resolve().parents[3]


def linear_of(*folders: Path, **keys: Any) -> Any:
    return recipe_from_weights("linear", [(folder, 1.0) for folder in folders], **keys)


def problems_of(recipe: Any, **settings: Any) -> tuple[str, ...]:
    return preflight(recipe, **settings).problems


def test_a_good_merge_has_a_plan(tmp_path: Path) -> None:
    folders = [random_lora(tmp_path / name, seed=seed, rank=seed + 1) for name, seed in (("a", 1), ("b", 2))]
    found = preflight(linear_of(*folders, out_dtype="bfloat16"), tmp_path / "out")
    assert (found.problems, found.warnings) == ((), ())
    assert list(found.adapters) == ["a", "b"]
    first, second = SHAPES
    assert found.rank_plan == {first: 5, second: 4}  # 2 + 3, but at most 4 where the module has 4 columns
    assert found.estimated_bytes == 2 * (5 * (6 + 5) + 4 * (7 + 4))
    assert not (tmp_path / "out").exists()


def test_every_problem_is_said_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    good = random_lora(tmp_path / "good", seed=1)
    other = random_lora(tmp_path / "other", seed=2, base_model_name_or_path="org/other")
    dora = random_lora(tmp_path / "dora", seed=3, use_dora=True)
    recipe = recipe_from_weights(
        "linear", [(good, 1.0), (other, 1.0), (dora, 1.0), (tmp_path / "absent", 1.0)], base_model="org/third"
    )
    with pytest.raises(ProblemsError) as caught:
        merge(recipe, tmp_path / "out")
    assert caught.value.problems == (
        "'dora' uses DoRA: its magnitudes only make sense with its base's weights. Make a plain LoRA of it first: "
        "medley convert.",
        f"There is no adapter folder at '{tmp_path / 'absent'}'.",
        f"Adapter 'good' was trained on {BASE}, but 'other' on org/other. Only adapters of one base can be merged.",
        f"Adapter 'good' was trained on {BASE}, but base_model is org/third.",
        "Adapter 'other' was trained on org/other, but base_model is org/third.",
        f"Adapter 'dora' was trained on {BASE}, but base_model is org/third.",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dora", "good", "other"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "LORA"])
def test_every_other_kind_of_adapter_has_a_sentence(tmp_path: Path, kind: str) -> None:
    folder = random_lora(tmp_path / "other", seed=1)
    config = {"peft_type": kind, "base_model_name_or_path": BASE, "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (problem,) = problems_of(linear_of(folder))
    advice = CONVERT_ADVICE if kind in CONVERTIBLE else OTHER_KIND_ADVICE
    assert problem == f"'other' is {OTHER_KINDS[kind]}. {advice}"
    assert re.match(r"'other' is an? [A-Za-z]", problem)


def test_one_module_of_two_shapes(tmp_path: Path) -> None:
    first = write_lora(tmp_path / "a", {"q_proj": random_factors(6, 5, 2, 1)})
    second = write_lora(tmp_path / "b", {"q_proj": random_factors(8, 5, 2, 2)})
    assert problems_of(linear_of(first, second)) == (
        "q_proj is 6 x 5 in 'a', but 8 x 5 in 'b'. They belong to different bases.",
    )


def test_weights_that_sum_to_zero_only_matter_where_they_divide(tmp_path: Path) -> None:
    models = [(random_lora(tmp_path / name, seed=seed), weight) for name, seed, weight in (("a", 1, 1), ("b", 2, -1))]
    assert problems_of(recipe_from_weights("linear", models)) == (
        "The weights sum to 0 and linear divides by their sum. Change a weight or set normalize: false.",
    )
    assert problems_of(recipe_from_weights("linear", models, {"normalize": False})) == ()
    assert problems_of(recipe_from_weights("task_arithmetic", models)) == ()


def test_weights_may_sum_to_zero_in_some_layers_only(tmp_path: Path) -> None:
    folders = [random_lora(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 2))]
    weights = [[1, 1], [-1, 1]]
    models = [{"model": str(f), "parameters": {"weight": w}} for f, w in zip(folders, weights, strict=True)]
    assert problems_of({"merge_method": "linear", "models": models}) == (
        f"The weights sum to 0 in {next(iter(SHAPES))} and linear divides by their sum. "
        "Change a weight or set normalize: false.",
    )


def test_a_filter_that_leaves_a_module_without_weight(tmp_path: Path) -> None:
    folder = random_lora(tmp_path / "a", seed=1)
    models = [{"model": str(folder), "parameters": {"weight": [{"filter": "mlp", "value": 1}]}}]
    assert problems_of({"merge_method": "linear", "models": models}) == (
        f"'{folder}' has no weight in {next(iter(SHAPES))}: no filter matches there. Add one with '*'.",
    )


def test_factor_needs_one_rank(tmp_path: Path) -> None:
    models = [(random_lora(tmp_path / name, seed=rank, rank=rank), 0.5) for name, rank in (("a", 1), ("b", 2))]
    assert problems_of(recipe_from_weights("factor", models)) == (
        f"factor averages adapters of one rank, but in {min(SHAPES)} 'a' has rank 1, 'b' has rank 2. "
        "Use linear, which is exact.",
    )


def test_layers_outside_every_slice(tmp_path: Path) -> None:
    folder = random_lora(tmp_path / "a", seed=1)
    sources = [{"model": str(folder), "layer_range": [0, 1], "parameters": {"weight": 1}}]
    assert problems_of({"merge_method": "linear", "slices": [{"sources": sources}]}) == (
        "No slice covers model.layers.1.mlp.down_proj. Give the slices all layers; an adapter cannot remove any.",
    )


def test_an_adapter_is_no_base(tmp_path: Path) -> None:
    folders = [random_lora(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 2))]
    recipe = recipe_from_weights("ties", [(folders[0], 1.0)], base_model=str(folders[1]))
    assert problems_of(recipe) == (f"base_model '{folders[1]}' is an adapter. For ties it must name the base.",)


def test_what_is_only_worth_a_warning(tmp_path: Path) -> None:
    head = write_lora(tmp_path / "head", {"lm_head": random_factors(9, 4, 2, 1)}, revision="abc", novelty=0)
    body = random_lora(tmp_path / "body", seed=2)
    found = preflight(linear_of(head, body))
    assert found.problems == ()
    assert found.warnings == (
        "'head' changed lm_head. Where the base ties it to its embeddings, folding the result into the base changes "
        "the embeddings too.",
        "'body' does not say the revision of its base, so it could not be compared.",
        "The adapters touch no module in common, so nothing is blended, only put together.",
        "'head' has settings unknown here: novelty.",
    )


def test_a_revision_that_the_adapter_does_not_say_cannot_be_compared(tmp_path: Path) -> None:
    recipe = {**linear_of(random_lora(tmp_path / "a", seed=1)).to_mapping(), "base_model": f"{BASE}@abc"}
    assert preflight(recipe).warnings == (
        f"base_model is {BASE}@abc, but 'a' does not say its revision, so it could not be compared.",
    )


def test_a_bad_recipe_is_a_finding_too() -> None:
    found = preflight({"merge_method": "tie", "models": [{"model": "a"}]})
    assert found.problems == ("There is no merge method 'tie'. Did you mean 'ties'?",)
    assert found.recipe is None


def test_a_full_disk_is_noticed_before_the_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    folder = random_lora(tmp_path / "a", seed=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 0, 100))
    assert problems_of(linear_of(folder), out_dir=tmp_path / "out") == (
        f"The result can take 0.2 kB, but only 0.1 kB are free at '{tmp_path}'. "
        "Free some space there, or choose another place.",
    )


def test_preflight_reads_no_weights_and_loads_no_torch(tmp_path: Path) -> None:
    folder = random_lora(tmp_path / "a", seed=1)
    weights = folder / "adapter_model.safetensors"
    header = 8 + int.from_bytes(weights.read_bytes()[:8], "little")
    with weights.open("r+b") as file:  # data of zeros instead of the factors: only reading it could tell
        file.seek(header)
        file.write(b"\xff" * (weights.stat().st_size - header))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(linear_of(folder).to_yaml())
    code = (
        "import sys; from merging import METHODS, preflight; "
        f"print(preflight({str(recipe)!r}).problems, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "() False False"


def test_gradients_follow_the_layers(tmp_path: Path) -> None:
    names = [f"model.layers.{layer}.q_proj" for layer in range(5)] + ["lm_head", "model.embed_tokens"]
    folder = write_lora(tmp_path / "a", {name: random_factors(4, 4, 1, 1) for name in names})
    models = [{"model": str(folder), "parameters": {"weight": [0, 1, 0]}}]
    found = preflight({"merge_method": "task_arithmetic", "models": models})
    weights = {plan.name: plan.weights[0] for plan in found.modules}
    assert [weights[name] for name in names] == pytest.approx([0, 0.5, 1, 0.5, 0, 0, 0])


def test_precedence_is_source_slice_recipe(tmp_path: Path) -> None:
    names = [f"model.layers.{layer}.q_proj" for layer in range(4)]
    folders = [write_lora(tmp_path / each, {n: random_factors(4, 4, 1, 1) for n in names}) for each in "ab"]

    def source(folder: Path, layers: list[int], **parameters: float) -> dict[str, Any]:
        return {"model": str(folder), "layer_range": layers, "parameters": parameters}

    recipe = {
        "merge_method": "task_arithmetic",
        "parameters": {"weight": 1},
        "slices": [
            {
                "sources": [source(folders[0], [0, 2], weight=3), source(folders[1], [0, 2])],
                "parameters": {"weight": 2},
            },
            {"sources": [source(folders[0], [2, 4]), source(folders[1], [2, 4], weight=[4, 6])]},
        ],
    }
    found = preflight(recipe)
    plans, problems = plan_modules(found.recipe, list(found.adapters.values()))
    assert problems == []
    assert [plan.weights for plan in plans] == [(3, 2), (3, 2), (1, 4), (1, 6)]


def test_the_base_counts_in_the_average_when_it_is_listed(tmp_path: Path) -> None:
    folder = random_lora(tmp_path / "a", seed=1)
    models = [{"model": str(folder), "parameters": {"weight": 1}}, {"model": BASE, "parameters": {"weight": 3}}]
    found = preflight({"merge_method": "linear", "models": models, "base_model": BASE})
    assert found.problems == ()
    assert {plan.weights for plan in found.modules} == {(1.0, 3.0)}
    assert {plan.inputs for plan in found.modules} == {(0, None)}


def test_short_names_are_the_shortest_that_differ() -> None:
    assert short_names(["/x/a/adapter", "/x/b/adapter", "/y/poet"]) == {
        "/x/a/adapter": "a/adapter",
        "/x/b/adapter": "b/adapter",
        "/y/poet": "poet",
    }
    assert short_names(["/x/poet", "sql"], ["poet"]) == {"/x/poet": "x/poet", "sql": "sql"}
    assert short_names(["sql"], ["sql"]) == {"sql": f"{Path.cwd().name}/sql"}


def test_an_adapter_is_never_called_like_the_base(tmp_path: Path) -> None:
    """The saved recipe would leave it out as the base, whose delta is zero."""
    folders = [random_lora(tmp_path / "x" / name, seed=1, base_model_name_or_path="tiny") for name in ("tiny", "sql")]
    recipe = recipe_from_weights("ties", [(each, 1.0) for each in folders], base_model="tiny")
    merge(recipe, tmp_path / "out")
    assert parse_recipe(tmp_path / "out" / "recipe.yaml").models == ("x/tiny", "sql")


def test_findings_as_a_table_and_as_plain_values(tmp_path: Path) -> None:
    first, second = SHAPES
    mixed = {first: random_factors(6, 5, 1, 1), second: random_factors(7, 4, 3, 2)}
    folders = [
        random_lora(tmp_path / "even", seed=1),
        write_lora(tmp_path / "mixed", mixed, rank_pattern={"down_proj": 3}),
    ]
    found = preflight(linear_of(*folders))
    assert found.input_rows() == [("even", "2", "2", BASE), ("mixed", "1-3", "2", BASE)]
    values = json.loads(json.dumps(found.to_mapping()))
    assert values["inputs"][1] == {"name": "mixed", "ranks": [1, 3], "modules": 2, "base": BASE}
    assert (values["problems"], values["rank_plan"]) == ([], {first: 3, second: 4})
    assert (values["dtype"], values["estimated_bytes"]) == ("float32", 4 * (3 * 11 + 4 * 11))
    unknown = preflight(linear_of(*folders, tmp_path / "gone")).to_mapping()
    assert (unknown["dtype"], unknown["estimated_bytes"]) == (None, None)

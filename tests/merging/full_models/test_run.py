"""Recipes of full models run on mergekit and equal what mergekit alone makes of them, tensor for tensor."""

import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medley.errors import BaseModelError, ParameterError, StorageError
from merging import FullReport, MergeReport, merge, parse_documents
from merging.full_models.recipe import FullRecipe
from merging.recipes.documents import documents_to_yaml
from tests.merging.llama_family import linear, mergekit_alone, weights, write_model

PUBLISHED = sorted((Path(__file__).parents[1] / "published").glob("*.yaml"))
OF_MODELS = [path for path in PUBLISHED if not path.stem.endswith("-loras")]
OF_ADAPTERS = [path for path in PUBLISHED if path.stem.endswith("-loras")]


def on_folders(recipe: object, family: dict[str, str]) -> str:
    """The recipe with folders in place of the names, as text."""
    text = recipe.read_text(encoding="utf-8") if isinstance(recipe, Path) else str(recipe)
    for name, folder in family.items():
        text = text.replace(name, folder)
    return text


@pytest.mark.parametrize("path", OF_MODELS, ids=lambda path: path.stem)
def test_published_shapes_equal_mergekits_own_result(path: Path, family: dict[str, str], tmp_path: Path) -> None:
    text = on_folders(path, family)
    report = merge(text, tmp_path / "out")
    made: dict[str, str] = {}
    for index, document in enumerate(parse_documents(text)):
        recipe = document.recipe.with_models(lambda ref: made.get(ref, ref))
        values = recipe.to_mapping()
        seed = values.pop("seed", 0)
        theirs = mergekit_alone(values | {"dtype": "float32", "out_dtype": recipe.written_dtype},
                                tmp_path / str(index), seed)  # fmt: skip
        made[document.name or ""] = str(tmp_path / str(index))
    ours = weights(tmp_path / "out")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert report.tensors == len(ours)
    assert {str(tensor.dtype) for tensor in ours.values()} == {f"torch.{report.dtype}"}
    theirs_config = json.loads((tmp_path / str(index) / "config.json").read_text(encoding="utf-8"))
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert (config["num_hidden_layers"], config["vocab_size"]) == (
        theirs_config["num_hidden_layers"],
        theirs_config["vocab_size"],
    )


@pytest.mark.parametrize("path", OF_ADAPTERS, ids=lambda path: path.stem)
def test_adapters_equal_mergekits_result_on_base_and_adapter(
    path: Path, family: dict[str, str], tmp_path: Path
) -> None:
    """W0 + our delta is what mergekit makes of W0 + D1 and W0 + D2; folded, it is the same model."""
    text = on_folders(path, family)
    document = parse_documents(text)[0]
    theirs = mergekit_alone(document.recipe.to_mapping(), tmp_path / "theirs")
    assert isinstance(merge(text, tmp_path / "adapter"), MergeReport)
    base, tensors = weights(Path(family["org/base"])), load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    for name, before in base.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        b, a = tensors.get(f"{module}.lora_B.weight"), tensors.get(f"{module}.lora_A.weight")
        assert torch.allclose(before if b is None else before + b @ a, theirs[name], atol=1e-5)


def test_the_result_loads_and_says_where_it_came_from(family: dict[str, str], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = next(path for path in OF_MODELS if path.stem == "passthrough-stack")
    report = merge(on_folders(path, family), tmp_path / "out")
    assert isinstance(report, FullReport)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.config.num_hidden_layers == 6
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(family["org/writer"]).chat_template
    assert [each.name for each in report.inputs] == ["writer", "coder"]
    saved = parse_documents(tmp_path / "out" / "recipe.yaml", lambda name: "model")[0].recipe
    assert saved.models == ("writer", "coder")
    written = json.loads((tmp_path / "out" / "merge_report.json").read_text(encoding="utf-8"))
    assert (written["method"], written["mergekit"], written["donor"]) == ("passthrough", "0.1.5", "writer")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "merge_report.json",
        "model.safetensors",
        "recipe.yaml",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_a_named_chat_template_takes_the_place_of_the_donors(family: dict[str, str], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    path = next(path for path in OF_MODELS if path.stem == "modules")
    merge(on_folders(path, family), tmp_path / "out")
    shown = AutoTokenizer.from_pretrained(tmp_path / "out").apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False
    )
    assert shown.startswith("<|im_start|>user\nHi<|im_end|>")


def test_adapters_go_into_models_where_only_models_can_be_merged(family: dict[str, str], tmp_path: Path) -> None:
    """nearswap with t = 0 is the base itself, and with a huge t the other model: here base + adapter."""
    recipe = {
        "merge_method": "nearswap",
        "base_model": family["org/base"],
        "models": [{"model": family["org/lora-a"]}],
        "parameters": {"t": 1e9},
        "output": "model",
    }
    merge(recipe, tmp_path / "out")
    adapted = {"merge_method": "linear", "models": [{"model": family["org/lora-a"], "parameters": {"weight": 1}}],
               "base_model": family["org/base"], "output": "model"}  # fmt: skip
    report = merge(adapted, tmp_path / "folded")
    assert isinstance(report, MergeReport)
    ours, folded = weights(tmp_path / "out"), weights(tmp_path / "folded")
    assert all(torch.allclose(ours[name], folded[name], atol=1e-6) for name in folded)
    before = weights(Path(family["org/base"]))
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], folded["model.layers.0.mlp.up_proj.weight"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folded", "out"]


def test_a_later_document_uses_an_earlier_adapter(family: dict[str, str], tmp_path: Path) -> None:
    """(a + b)/2 as an adapter of its own, then added to a third of the way: exact in both steps."""
    a, b = family["org/lora-a"], family["org/lora-b"]
    text = f"""
name: half
merge_method: linear
models:
  - {{model: {a}, parameters: {{weight: 1}}}}
  - {{model: {b}, parameters: {{weight: 1}}}}
---
merge_method: task_arithmetic
models:
  - {{model: half, parameters: {{weight: 2}}}}
  - {{model: {b}, parameters: {{weight: -1}}}}
"""
    report = merge(text, tmp_path / "out")
    merge({"merge_method": "task_arithmetic", "models": [{"model": a, "parameters": {"weight": 1}}]}, tmp_path / "a")
    for name in report.modules:
        ours, wanted = (delta(tmp_path / place, name) for place in ("out", "a"))
        assert torch.allclose(ours, wanted, atol=1e-5)
    assert [each.name for each in report.inputs] == ["half", "lora-b"]
    saved = (tmp_path / "out" / "recipe.yaml").read_text(encoding="utf-8")
    documents = parse_documents(saved, lambda name: "adapter")
    assert [document.recipe.models for document in documents] == [("lora-a", "lora-b"), ("half", "lora-b")]
    assert documents_to_yaml(documents) == saved
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]


def delta(folder: Path, name: str) -> torch.Tensor:
    tensors = load_file(folder / "adapter_model.safetensors")
    return tensors[f"base_model.model.{name}.lora_B.weight"] @ tensors[f"base_model.model.{name}.lora_A.weight"]


def test_without_a_base_the_first_model_gives_the_configuration(
    tiny_base: Path, family: dict[str, str], tmp_path: Path
) -> None:
    """In both orders, so that no order of a set can be right by chance."""
    other = str(write_model(tiny_base, tmp_path / "other", 5, max_position_embeddings=77))
    for place, models in (("one", (other, family["org/base"])), ("two", (family["org/base"], other))):
        merge(linear(*models), tmp_path / place)
        found, wanted = (
            json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]
            for folder in (tmp_path / place, models[0])
        )
        assert found == wanted


def test_what_a_killed_merge_left_is_removed_by_the_next(family: dict[str, str], tmp_path: Path) -> None:
    left = tmp_path / ".out.999999999-0a1b2c3d.merging"
    left.mkdir()
    (left / "model-1.safetensors").write_bytes(b"half a shard")
    merge(linear(family["org/base"], f"{family['org/base']}+{family['org/lora-a']}"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_merge_that_is_stopped_leaves_nothing(family: dict[str, str], tmp_path: Path) -> None:
    def stop(kind: str, **fields: object) -> None:
        if kind == "progress" and fields["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(linear(family["org/base"], family["org/coder"]), tmp_path / "out", emit=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing(family: dict[str, str], tmp_path: Path) -> None:
    """The largest file that may be written is smaller than the weights, which mergekit writes by safetensors."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(StorageError) as refused:
            merge(linear(family["org/writer"], family["org/coder"]), tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(refused.value) == "The merged weights cannot be written: File too large (os error 27)."
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_the_models_do_not_have(family: dict[str, str], tmp_path: Path) -> None:
    models = linear(family["org/writer"])["models"]
    with pytest.raises(BaseModelError) as refused:
        merge({"merge_method": "linear", "modules": {"vision": {"models": models}}}, tmp_path / "out")
    expected = "These models have no module 'vision'. Known: default. Without modules, all is merged."
    assert str(refused.value) == expected


def test_progress_counts_every_tensor_once(family: dict[str, str], tmp_path: Path) -> None:
    steps = []

    def note(kind: str, **fields: object) -> None:
        steps.extend([(fields["step"], fields["total"])] if kind == "progress" else [])

    report = merge(linear(family["org/base"], family["org/coder"]), tmp_path / "out", emit=note)
    total = report.tensors + 1  # and the index that is written at the end
    assert steps == [(step, total) for step in range(1, total + 1)]


def test_numbers_too_large_for_the_dtype_are_refused(family: dict[str, str], tmp_path: Path) -> None:
    """A weight of 1e6 puts the largest entries, about 0.08, above 65504."""
    recipe = {"merge_method": "linear", "models": [{"model": family["org/base"], "parameters": {"weight": 1e6}}],
              "parameters": {"normalize": False}}  # fmt: skip
    expected = (
        r"^The result of [\w.]+ holds NaN or Infinity in float16\. If the inputs do not, it is too large for that: "
        r"set out_dtype: bfloat16 or float32, or smaller weights\.$"
    )
    with pytest.raises(ParameterError, match=expected):
        merge({**recipe, "out_dtype": "float16"}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    merge({**recipe, "out_dtype": "bfloat16"}, tmp_path / "out")


def test_a_parsed_recipe_is_taken_as_it_is(family: dict[str, str]) -> None:
    recipe = parse_documents(linear(family["org/base"]))[0].recipe
    assert isinstance(recipe, FullRecipe)
    assert parse_documents(recipe)[0].recipe is recipe

"""Recipes of full models run on mergekit and equal what mergekit alone makes of them, tensor for tensor."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medley.errors import ProblemsError
from merging import FullReport, MergeReport, merge, parse_documents, preflight_documents
from merging.documents import documents_to_yaml
from merging.full_recipe import FullRecipe
from tests.merging.llama_family import mergekit_alone, weights, write_family, write_model

PUBLISHED = sorted((Path(__file__).parent / "published").glob("*.yaml"))
OF_MODELS = [path for path in PUBLISHED if not path.stem.endswith("-loras")]
OF_ADAPTERS = [path for path in PUBLISHED if path.stem.endswith("-loras")]


@pytest.fixture(scope="module")
def family(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders by the recipes' names."""
    from tests.tiny_model import write_tiny_adapter

    folder = tmp_path_factory.mktemp("family")
    found = write_family(tiny_base, folder)
    for seed, name in enumerate(("lora-a", "lora-b")):
        base = Path(found["org/base"])
        found[f"org/{name}"] = str(write_tiny_adapter(base, folder / name, seed=seed, base_id="org/base"))
    return found


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


def problems_of(recipe: dict[str, object], out_dir: Path | None = None) -> tuple[str, ...]:
    return preflight_documents(recipe, out_dir).problems


def linear(*folders: str, **keys: object) -> dict[str, object]:
    return {"merge_method": "linear", "models": [{"model": str(each), "parameters": {"weight": 1}} for each in folders],
            **keys}  # fmt: skip


def test_what_headers_tell_against_a_merge(tiny_base: Path, family: dict[str, str], tmp_path: Path) -> None:
    base = family["org/base"]
    wide = write_model(tiny_base, tmp_path / "wide", 7, intermediate_size=32)
    tall = write_model(tiny_base, tmp_path / "tall", 7, num_hidden_layers=5)
    wordy = write_model(tiny_base, tmp_path / "wordy", 7, vocab_size=400)
    untied = write_model(tiny_base, tmp_path / "untied", 7, tie_word_embeddings=False)
    layer = "model.layers.N.mlp"
    assert problems_of(linear(base, wide)) in [
        (f"{layer}.{name}.weight is {ours} in 'base', but {theirs} in 'wide'. Only models of one size can be merged.",)
        for name, ours, theirs in [("up_proj", "24 x 16", "32 x 16"), ("gate_proj", "24 x 16", "32 x 16"),
                                   ("down_proj", "16 x 24", "16 x 32")]
    ]  # fmt: skip
    assert problems_of(linear(base, tall)) == (
        "The models have different numbers of layers: 'base' has 4, 'tall' has 5. Name the layers in slices.",
    )
    assert problems_of(linear(base, wordy)) == (
        "'base' has 384 tokens, but 'wordy' has 400. Add tokenizer: {source: union} to keep all of them, "
        "or {source: base}.",
    )
    assert problems_of(linear(base, wordy, tokenizer={"source": "union"})) == ()
    assert problems_of(linear(base, untied)) == (
        "'base' has one matrix for embeddings and output layer, but 'untied' has two. They cannot be merged.",
    )
    sliced = {"merge_method": "passthrough",
              "slices": [{"sources": [{"model": base, "layer_range": [2, 6]}]}]}  # fmt: skip
    assert problems_of(sliced) == ("slices[0]: layer_range ends at 6, but 'base' has 4 layers.",)
    assert problems_of(linear(base, str(tmp_path / "nowhere"))) == (
        f"There is no model folder at '{tmp_path / 'nowhere'}'.",
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert problems_of(linear(base), tmp_path / "full") == (
        f"'{tmp_path / 'full'}' exists and is not an empty folder. Choose another place; nothing is overwritten.",
    )


def test_what_stands_against_a_fold_and_a_later_document(family: dict[str, str], tiny_base: Path) -> None:
    a = family["org/lora-a"]
    assert problems_of(linear(a, output="model")) == (
        "output: model needs base_model: the model that the merged adapter is folded into.",
    )
    assert problems_of(linear(a, output="model", base_model=str(tiny_base)))[0].startswith(
        "'the merged adapter' changes model.layers.0.mlp.down_proj as 16 x 24, but in '"
    )
    documents = [linear(a, name="blend"), {**linear(a, "blend"), "merge_method": "factor"}]
    assert problems_of(documents) == ()
    documents[0]["models"].append({"model": family["org/lora-b"], "parameters": {"weight": 1}})
    assert problems_of(documents) == (
        "the result: factor averages adapters of one rank, but in model.layers.0.mlp.down_proj 'lora-a' has rank 4, "
        "'blend' has rank 8. Use linear, which is exact.",
    )


def test_preflight_knows_size_and_inputs_without_torch_or_mergekit(family: dict[str, str]) -> None:
    recipe = json.dumps(linear(family["org/base"], family["org/coder"], out_dtype="bfloat16"))
    code = (
        "import json, sys, merging; found = merging.preflight_documents(json.loads(sys.argv[1])); "
        "print(found.estimated_bytes, found.input_rows()[0], [name for name in ('torch', 'mergekit') "
        "if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code, recipe], capture_output=True, text=True, check=True)
    count = sum(tensor.numel() for tensor in weights(Path(family["org/base"])).values())
    row = ("base", "float32", f"{count:,}", "LlamaForCausalLM")
    assert result.stdout.strip() == f"{2 * count} {row} []"


def test_a_merge_that_is_stopped_leaves_nothing(family: dict[str, str], tmp_path: Path) -> None:
    def stop(kind: str, **fields: object) -> None:
        if kind == "progress" and fields["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(linear(family["org/base"], family["org/coder"]), tmp_path / "out", emit=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_tensor_once(family: dict[str, str], tmp_path: Path) -> None:
    steps = []

    def note(kind: str, **fields: object) -> None:
        steps.extend([(fields["step"], fields["total"])] if kind == "progress" else [])

    report = merge(linear(family["org/base"], family["org/coder"]), tmp_path / "out", emit=note)
    total = report.tensors + 1  # and the index that is written at the end
    assert steps == [(step, total) for step in range(1, total + 1)]


def test_a_model_that_is_quantised_or_pickled_is_refused(
    family: dict[str, str], tiny_base: Path, tmp_path: Path
) -> None:
    folder = write_model(tiny_base, tmp_path / "small", 3)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    quantised = {**config, "quantization_config": {"quant_method": "gptq"}}
    (folder / "config.json").write_text(json.dumps(quantised), encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        merge(linear(family["org/base"], str(folder)), tmp_path / "out")
    assert caught.value.problems == ("'small' is quantised (gptq). Only weights in 16 or 32 bits can be merged.",)
    assert not (tmp_path / "out").exists()


def test_a_parsed_recipe_is_taken_as_it_is(family: dict[str, str]) -> None:
    recipe = parse_documents(linear(family["org/base"]))[0].recipe
    assert isinstance(recipe, FullRecipe)
    assert parse_documents(recipe)[0].recipe is recipe

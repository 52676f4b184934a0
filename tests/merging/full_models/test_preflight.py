"""What stands against a merge of full models, and what it would make, from configurations and headers alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medley.errors import ProblemsError
from merging import merge, preflight_documents
from tests.merging.llama_family import linear, weights, write_model


def problems_of(recipe: dict[str, object], out_dir: Path | None = None) -> tuple[str, ...]:
    return preflight_documents(recipe, out_dir).problems


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


def test_one_layer_or_tokenizer_that_is_not_as_the_others(
    tiny_base: Path, family: dict[str, str], tmp_path: Path
) -> None:
    base, name = family["org/base"], "model.layers.1.mlp.up_proj.weight"

    def model(folder: str, **changed: torch.Tensor | None) -> Path:
        path = write_model(tiny_base, tmp_path / folder, 7)
        tensors = weights(path) | changed
        kept = {key: tensor for key, tensor in tensors.items() if tensor is not None}
        save_file(kept, path / "model.safetensors", metadata={"format": "pt"})
        return path

    holey, narrow = model("holey", **{name: None}), model("narrow", **{name: torch.zeros(24, 8)})
    assert problems_of(linear(base, str(holey))) == (f"'holey' lacks 1 tensor that 'base' has, the first is {name}.",)
    assert problems_of(linear(base, str(narrow))) == (
        f"{name} is 24 x 16 in 'base', but 24 x 8 in 'narrow'. Only models of one size can be merged.",
    )
    last = {each: None for each in weights(Path(base)) if ".layers.3." in each}
    assert problems_of(linear(str(model("short", **last)))) == (
        "'short' has no layer 3, though its config.json says 4 layers.",
    )
    for text in ("{", "[]", '{"model": {"vocab": [1]}}'):
        (narrow / "tokenizer.json").write_text(text, encoding="utf-8")
        assert problems_of(linear(str(narrow))) == (
            "'narrow': its tokenizer.json is damaged. Fetch or save the model again.",
        )


def test_the_size_of_a_fold_into_a_base_elsewhere_is_not_known(family: dict[str, str]) -> None:
    """The merged adapter's own size would say nothing of the model."""
    recipe = linear(family["org/lora-a"], output="model", base_model="org/base")
    found = preflight_documents(recipe, absent=["org/base"])
    assert (found.problems, found.estimated_bytes) == ((), 0)
    assert found.warnings[-1].startswith("'org/base' is not on this machine.")


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

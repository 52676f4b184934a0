"""Recipes of full models and of several documents from the command line: what a dry run says, and what is refused."""

from pathlib import Path

import yaml

from tests.cli.conftest import Here, assert_refused


def linear(*models: str, **keys: object) -> dict[str, object]:
    return {"merge_method": "linear", "models": [{"model": each, "parameters": {"weight": 1}} for each in models],
            **keys}  # fmt: skip


def written(tmp_path: Path, *documents: dict[str, object]) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("---\n".join(yaml.safe_dump(each) for each in documents), encoding="utf-8")
    return path


def test_a_dry_run_of_documents_shows_the_result_of_the_last(stocked: Path, here: Here, tmp_path: Path) -> None:
    blend = {**linear("left", "right"), "name": "blend"}
    recipe = written(tmp_path, blend, linear("tiny", "tiny+blend", out_dtype="bfloat16"))
    shown = here("merge", recipe, "--dry-run", ok=True).out.splitlines()
    assert [line.split() for line in shown[:3]] == [
        ["INPUT", "DTYPE", "PARAMETERS", "ARCHITECTURE"],
        ["tiny:v1", "float32", "30,880", "LlamaForCausalLM"],
        ["blend", "8,192", "adapter", "of", "medley-tests/tiny-llama"],
    ]
    assert shown[-3:] == [
        "The result, model: 62 kB, bfloat16.",
        "",
        "Nothing stands in the way of this merge.",
    ]
    told = here("merge", recipe, "--dry-run", "--json", ok=True).json
    assert (told["problems"], told["dtype"], told["estimated_bytes"]) == ([], "bfloat16", 2 * 30880)
    assert told["inputs"] == [
        {
            "name": "tiny:v1",
            "kind": "model",
            "dtype": "float32",
            "parameters": 30880,
            "architecture": "LlamaForCausalLM",
            "base": None,
        },
        {
            "name": "blend",
            "kind": "adapter",
            "dtype": None,
            "parameters": 8192,
            "architecture": None,
            "base": "medley-tests/tiny-llama",
        },
    ]
    assert [each.get("name") for each in told["recipe"]] == ["blend", None]
    assert told["diagnosis"] is None


def test_what_is_wrong_with_models_is_said_at_once(stocked: Path, here: Here, tmp_path: Path) -> None:
    wrong = linear("tiny", "tiny+left", tokenizer={"sauce": "base"}, dtypes="float32")
    ended = here("merge", written(tmp_path, wrong), "--dry-run")
    assert (ended.code, ended.out, ended.err.splitlines()) == (
        1,
        "",
        [
            "Error: 2 problems in recipe.yaml:",
            "  There is no option 'dtypes'. Did you mean 'dtype'?",
            "  tokenizer: There is no option 'sauce'. Did you mean 'source'?",
        ],
    )
    stack = {"merge_method": "passthrough", "slices": [{"sources": [{"model": "tiny", "layer_range": [0, 3]}]}]}
    ended = here("merge", written(tmp_path, stack), "--name", "taller")
    assert_refused(ended, says="slices[0]: layer_range ends at 3, but 'tiny:v1' has 2 layers.")

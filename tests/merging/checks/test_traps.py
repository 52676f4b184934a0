"""Every trap of a LoRA folder with the exact sentence that refuses it, or with what comes out where it is resolved."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from medley.lm.adapter_schema import KINDS
from merging import merge, preflight, recipe_from_weights
from merging.checks.compatibility import CONVERT_ADVICE, CONVERTIBLE, OTHER_KIND_ADVICE, OTHER_KINDS
from tests.merging.lora_files import BASE, SHAPES, dense_deltas, random_factors, random_lora, write_lora

FULL = "Only its full model has all of it; retrain it as plain LoRA to merge it."
ONE_BASE = "Only adapters of one base can be merged."
MORE = "so its delta is more than its two factors. " + FULL
RESIDUAL = (
    "which also changes the base's weights, so its delta does not belong to the original base. "
    "Save it with peft's path_initial_model_for_weight_conversion first."
)
BIASES = "'bad' also trained biases, which no merge method covers. " + FULL
BY_SETTING: dict[str, tuple[dict[str, Any], str]] = {
    "another base": (
        {"base_model_name_or_path": "org/other"},
        f"Adapter 'good' was trained on {BASE}, but 'bad' on org/other. {ONE_BASE}",
    ),
    "another revision": (
        {"revision": "def"},
        f"Adapter 'good' was trained on revision abc of {BASE}, but 'bad' on def. {ONE_BASE}",
    ),
    "no base": (
        {"base_model_name_or_path": None},
        "'bad' does not say its base model. Set base_model_name_or_path in its configuration.",
    ),
    "another task": ({"task_type": "SEQ_CLS"}, "Adapter 'good' is for CAUSAL_LM, but 'bad' for SEQ_CLS."),
    "DoRA": (
        {"use_dora": True},
        "'bad' uses DoRA: its magnitudes only make sense with its base's weights. Make a plain LoRA of it first: "
        "medley convert.",
    ),
    "lora_bias": ({"lora_bias": True}, BIASES),
    "bias": ({"bias": "all"}, BIASES),
    "modules_to_save": (
        {"modules_to_save": ["lm_head"]},
        f"'bad' also holds whole modules (lm_head), which cannot be merged as deltas. {FULL}",
    ),
    "trainable tokens": (
        {"trainable_token_indices": [1, 2]},
        f"'bad' also trained single tokens' embeddings, which cannot be merged as deltas. {FULL}",
    ),
    "target_parameters": (
        {"target_parameters": ["experts.gate_up_proj"]},
        f"'bad' trains single parameters (target_parameters), {MORE}",
    ),
    "layer_replication": (
        {"layer_replication": [[0, 1]]},
        f"'bad' repeats layers of the base (layer_replication), {MORE}",
    ),
    "aLoRA": (
        {"alora_invocation_tokens": [5]},
        f"'bad' is switched on by tokens (alora_invocation_tokens), {MORE}",
    ),
    "KaSA": ({"kasa_config": {"beta": 0.1}}, f"'bad' uses KaSA, {MORE}"),
    "QA-LoRA": ({"use_qalora": True}, f"'bad' uses QA-LoRA, {MORE}"),
    "BD-LoRA": ({"use_bdlora": {"nblocks": 2}}, f"'bad' uses block-diagonal LoRA, {MORE}"),
    "Arrow": ({"arrow_config": {"top_k": 2}}, f"'bad' routes between experts (Arrow), {MORE}"),
    "MonteCLoRA": ({"monteclora_config": {"num_samples": 2}}, f"'bad' uses MonteCLoRA, {MORE}"),
    "PiSSA": ({"init_lora_weights": "pissa_niter_4"}, f"'bad' was initialised with pissa_niter_4, {RESIDUAL}"),
    "OLoRA": ({"init_lora_weights": "olora"}, f"'bad' was initialised with olora, {RESIDUAL}"),
    "CorDA": ({"init_lora_weights": "corda"}, f"'bad' was initialised with corda, {RESIDUAL}"),
    "LoftQ": ({"init_lora_weights": "loftq"}, f"'bad' was initialised with loftq, {RESIDUAL}"),
    "LoRA-GA": ({"init_lora_weights": "lora_ga"}, f"'bad' was initialised with lora_ga, {RESIDUAL}"),
}
ODD = "base_model.model."
BY_TENSOR: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "LoRA on an embedding": (
        {"model.embed_tokens.lora_embedding_A": (2, 9), "model.embed_tokens.lora_embedding_B": (4, 2)},
        "'bad' trained an embedding as LoRA (model.embed_tokens), and only linear layers can be merged. "
        "Retrain it without that module among its target_modules.",
    ),
    "added tokens": (
        {"lm_head.weight": (9, 4), "model.embed_tokens.weight": (9, 4)},
        "'bad' holds whole embeddings (lm_head, model.embed_tokens), as peft saves them when tokens were added to the "
        f"vocabulary. {FULL}",
    ),
    "a convolution": (
        {"visual.patch.lora_A.weight": (2, 3, 2, 2), "visual.patch.lora_B.weight": (6, 2, 1, 1)},
        f"'bad' trained convolutions (visual.patch), and only linear layers can be merged. {FULL}",
    ),
    "magnitudes": (
        {f"{next(iter(SHAPES))}.lora_magnitude_vector.weight": (6,)},
        "'bad' holds DoRA's magnitudes, though its configuration says use_dora: false. Set it right.",
    ),
    "something else": (
        {"model.norm.weight": (4,)},
        f"'bad' holds 1 tensor that is not plain LoRA, for example base_model.model.model.norm.weight. {FULL}",
    ),
}


def problems_beside_a_good_one(tmp_path: Path, bad: Path) -> tuple[str, ...]:
    good = random_lora(tmp_path / "good", seed=1, revision="abc")
    return preflight(recipe_from_weights("linear", [(good, 1.0), (bad, 1.0)])).problems


def test_an_adapter_that_says_no_revision_hides_no_difference_of_the_others(tmp_path: Path) -> None:
    folders = [random_lora(tmp_path / "silent", seed=1)]
    folders += [random_lora(tmp_path / revision, seed=2, revision=revision) for revision in ("abc", "def")]
    models = [{"model": str(folder), "parameters": {"weight": 1}} for folder in folders]
    assert preflight({"merge_method": "linear", "models": models}).problems == (
        f"Adapter 'abc' was trained on revision abc of {BASE}, but 'def' on def. {ONE_BASE}",
    )


@pytest.mark.parametrize("trap", BY_SETTING)
def test_a_setting_is_refused(tmp_path: Path, trap: str) -> None:
    settings, sentence = BY_SETTING[trap]
    bad = random_lora(tmp_path / "bad", seed=2, **{"revision": "abc", **settings})
    assert problems_beside_a_good_one(tmp_path, bad) == (sentence,)


@pytest.mark.parametrize("trap", BY_TENSOR)
def test_a_tensor_is_refused(tmp_path: Path, trap: str) -> None:
    shapes, sentence = BY_TENSOR[trap]
    bad = random_lora(tmp_path / "bad", seed=2, revision="abc")
    add_tensors(bad, shapes)
    assert problems_beside_a_good_one(tmp_path, bad) == (sentence,)


def add_tensors(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] += [name.partition(".lora_")[0] for name in shapes if ".lora_" in name]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors |= {ODD + name: torch.zeros(shape) for name, shape in shapes.items()}
    save_file(tensors, folder / "adapter_model.safetensors")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "LORA"])
def test_every_other_kind_of_adapter_has_a_sentence(tmp_path: Path, kind: str) -> None:
    folder = random_lora(tmp_path / "other", seed=1)
    config = {"peft_type": kind, "base_model_name_or_path": BASE, "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (problem,) = preflight(recipe_from_weights("linear", [(folder, 1.0)])).problems
    advice = CONVERT_ADVICE if kind in CONVERTIBLE else OTHER_KIND_ADVICE
    assert problem == f"'other' is {OTHER_KINDS[kind]}. {advice}"
    assert re.match(r"'other' is an? [A-Za-z]", problem)


def test_a_rank_that_the_weights_contradict(tmp_path: Path) -> None:
    problems = problems_beside_a_good_one(tmp_path, random_lora(tmp_path / "bad", seed=2, revision="abc", r=3))
    assert len(problems) == 2  # both modules
    assert problems[0] == f"'bad': '{next(iter(SHAPES))}' has A (2, 5) and B (6, 2), but the configuration says rank 3."


def test_a_tied_head_is_refused_and_a_head_that_may_be_tied_is_told(tmp_path: Path) -> None:
    head = {"lm_head": random_factors(9, 4, 2, 1)}
    folders = [
        write_lora(tmp_path / name, head, revision="abc", ensure_weight_tying=is_tied)
        for name, is_tied in (("free", False), ("bad", True))
    ]
    assert problems_beside_a_good_one(tmp_path, folders[1]) == (
        "'bad' keeps its trained lm_head tied to the embeddings (ensure_weight_tying), and a merged adapter cannot. "
        + FULL,
    )
    assert preflight(recipe_from_weights("linear", [(folders[0], 1.0)])).warnings == (
        "'free' changed lm_head. Where the base ties it to its embeddings, folding the result into the base changes "
        "the embeddings too.",
    )


TOKENS = {
    "added_tokens.json": lambda tokens: tokens,
    "tokenizer_config.json": lambda tokens: {
        "added_tokens_decoder": {str(number): {"content": token} for token, number in tokens.items()}
    },
    "tokenizer.json": lambda tokens: {
        "added_tokens": [{"id": number, "content": token} for token, number in tokens.items()]
    },
}


@pytest.mark.parametrize("file_name", TOKENS)
def test_different_added_tokens_are_refused_whichever_file_tells_them(tmp_path: Path, file_name: str) -> None:
    folders = [random_lora(tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b", "without"))]

    def problems(first: dict[str, int], second: dict[str, int]) -> tuple[str, ...]:
        for folder, tokens in zip(folders, (first, second), strict=False):
            (folder / file_name).write_text(json.dumps(TOKENS[file_name](tokens)))
        return preflight(recipe_from_weights("linear", [(folder, 1.0) for folder in folders])).problems

    advice = "Merged they would need one tokenizer; retrain one with the tokens of the other."
    start = "'a' and 'b' were trained with different added tokens: '<call>' is "
    assert problems({"<s>": 1, "<call>": 9}, {"<s>": 1, "<call>": 9}) == ()
    assert problems({"<s>": 1}, {"<s>": 1, "<call>": 10}) == (f"{start}10 in 'b' alone. {advice}",)
    assert problems({"<call>": 100}, {"<call>": 11}) == (f"{start}100 in 'a' and 11 in 'b'. {advice}",)


def test_different_chat_templates_are_told(tmp_path: Path) -> None:
    folders = [random_lora(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    for folder in folders:
        (folder / "chat_template.jinja").write_text(folder.name)
    assert preflight(recipe_from_weights("linear", [(folder, 1.0) for folder in folders])).warnings == (
        "The adapters were trained with different chat templates (a, b); the merged one will see only one of them.",
    )


def test_settings_that_leave_the_delta_alone_are_resolved(tmp_path: Path) -> None:
    """The result has each module by name and factors as they are multiplied, so none of these is in it."""
    settings = [
        {"fan_in_fan_out": True},
        {"layers_to_transform": [0, 1], "layers_pattern": "layers", "target_modules": ["q_proj", "down_proj"]},
        {"init_lora_weights": "eva", "use_rslora": True},
        {"init_lora_weights": "orthogonal", "lora_dropout": 0.1},
    ]
    folders = [random_lora(tmp_path / f"{i}", seed=i, **each) for i, each in enumerate(settings)]
    merge(recipe_from_weights("task_arithmetic", [(folder, 0.5) for folder in folders]), tmp_path / "out")
    merged, parts = dense_deltas(tmp_path / "out"), [dense_deltas(folder) for folder in folders]
    for name in SHAPES:
        assert torch.allclose(merged[name], 0.5 * sum(part[name] for part in parts), atol=1e-5)
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (written["fan_in_fan_out"], written["use_rslora"], written["lora_dropout"]) == (False, False, 0.0)
    assert "layers_to_transform" not in written
    assert written["target_modules"] == sorted(SHAPES)

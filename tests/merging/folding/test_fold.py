"""Folding: the bits of the result, what is copied, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medley.errors import AdapterFormatError, ParameterError, ProblemsError
from merging import FoldInput, fold, plan_fold
from tests.merging.base_files import QUERY, three_adapters, weights_of, write_base
from tests.merging.lora_files import random_factors, write_lora


def as_bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16", "float32"])
def test_the_bits_are_those_of_float32_cast_once(tmp_path: Path, dtype: str | None) -> None:
    base = write_base(tmp_path / "base", shards=2)
    inputs, factors = three_adapters(tmp_path)
    report = fold(base, inputs, tmp_path / "out", dtype=dtype)
    before, after = weights_of(base), weights_of(tmp_path / "out")
    assert list(after) == list(before)
    for name, tensor in before.items():
        wanted = getattr(torch, dtype) if dtype else tensor.dtype
        expected = tensor.float()
        if name.removesuffix(".weight") in factors:
            left = torch.cat([b for b, _ in factors[name.removesuffix(".weight")]], dim=1)
            expected = expected + left @ torch.cat([a for _, a in factors[name.removesuffix(".weight")]])
        assert after[name].dtype == wanted
        assert as_bits(after[name]) == as_bits(expected.to(wanted)), name
    assert (report.changed, report.copied) == (2, {None: 2, "bfloat16": 1, "float16": 0, "float32": 1}[dtype])


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small whole numbers make every sum exact, so any number of rows at a time must give the same bits."""
    base = write_base(tmp_path / "base", torch.float32)
    left, right = torch.arange(12.0).view(6, 2) - 6, torch.arange(10.0).view(2, 5)
    adapter = write_lora(tmp_path / "whole", {QUERY: (left, right)})
    weights = weights_of(base)
    weights[QUERY + ".weight"] = torch.arange(30.0).view(6, 5)
    save_file(weights, base / "model-00001-of-00001.safetensors")
    for size in (1, 10, 1000):
        monkeypatch.setattr("medley.lm.model_stream.BLOCK_ELEMENTS", size)
        fold(base, [FoldInput(adapter)], tmp_path / f"out{size}")
        after = weights_of(tmp_path / f"out{size}")[QUERY + ".weight"]
        assert torch.equal(after, torch.arange(30.0).view(6, 5) + left @ right)  # alpha = r: scale 1
        assert float(after[0, 0]) == 0 + (-6 * 0 + -5 * 5)


def test_the_folder_is_a_model_of_its_own(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    inputs, _ = three_adapters(tmp_path)
    events: list[tuple[str, object]] = []
    report = fold(
        base,
        inputs[:1],
        tmp_path / "out",
        shard_bytes=100,
        recipe="fold: {}\n",
        emit=lambda kind, **fields: events.append((kind, fields.get("step"))),
    )
    shards = [f"model-{place:05d}-of-00004.safetensors" for place in range(1, 5)]  # 90, 56, 60 and 20 bytes
    assert report.files == tuple(shards)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*shards, "model.safetensors.index.json", "config.json", "tokenizer.json", "chat_template.jinja",
         "merge_report.json", "recipe.yaml"]
    )  # fmt: skip
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 2 * (30 + 28 + 45) + 4 * 5}
    assert all(name in load_file(tmp_path / "out" / shard) for name, shard in index["weight_map"].items())
    assert (tmp_path / "out" / "config.json").read_bytes() == (base / "config.json").read_bytes()
    said = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert (said["method"], said["dtype"], said["base_model"]) == ("fold", "bfloat16", "medley-tests/base")
    assert said["inputs"][0]["name"] == "plain"
    assert str(tmp_path) not in json.dumps(said)
    assert events == [("progress", 1), ("progress", 2), ("progress", 3), ("progress", 4), ("artifact", None)]


def test_another_dtype_stands_in_the_configuration(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", torch_dtype="bfloat16")
    inputs, _ = three_adapters(tmp_path)
    fold(base, inputs[:1], tmp_path / "out", dtype="float32")
    before, after = (json.loads((each / "config.json").read_text()) for each in (base, tmp_path / "out"))
    assert after == {**before, "torch_dtype": "float32"}


def refusal(base: Path, inputs: list[FoldInput], out: Path, **settings: object) -> str:
    with pytest.raises(ProblemsError) as caught:
        fold(base, inputs, out, **settings)
    assert not out.exists()
    return str(caught.value)


def test_what_cannot_be_folded_is_said_before_anything_is_written(tmp_path: Path) -> None:
    base, out = write_base(tmp_path / "base"), tmp_path / "out"
    factors = random_factors(6, 5, 2, 1)

    def adapter(name: str, module: str = QUERY, pair: tuple = factors, **config: object) -> list[FoldInput]:
        return [FoldInput(write_lora(tmp_path / name, {module: pair}, **config))]

    assert refusal(base, adapter("a", pair=random_factors(8, 5, 2, 1)), out) == (
        f"'a' has {QUERY}.weight as 8 x 5, but in the base it is 6 x 5."
    )
    assert refusal(base, adapter("b", "model.layers.7.self_attn.q_proj"), out) == (
        "'b' changes model.layers.7.self_attn.q_proj.weight, which the base does not have."
    )
    assert refusal(base, adapter("c", init_lora_weights="pissa"), out).startswith("'c' was initialised with pissa, ")
    assert refusal(base, adapter("d", lora_bias=True), out) == (
        "'d' trained biases of its factors (lora_bias), which are no delta of the weights. Train it as plain LoRA."
    )
    assert refusal(base, adapter("h", peft_type="IA3"), out) == (
        "'h' is an IA3 adapter: it multiplies activations and adds no delta. Make a plain LoRA of it first: medley "
        "convert."
    )
    assert refusal(base, adapter("e"), out, dtype="int8") == (
        "dtype must be one of float32, bfloat16, float16, got int8."
    )
    twice = adapter("f")
    assert refusal(base, [FoldInput(twice[0].folder, float("nan"))], out) == (
        "The weight of 'f' must lie between -1e6 and 1e6, got nan."
    )
    quantised = write_base(tmp_path / "quantised", quantization_config={"quant_method": "bitsandbytes"})
    assert refusal(quantised, twice, out) == (
        "The base is quantised, and a fold needs its 16-bit or 32-bit weights. Choose those as base."
    )
    assert refusal(base, [], out) == "A fold needs at least one adapter."
    other = adapter("g", base_model_name_or_path="somebody/else")
    assert "Adapter 'f' was trained on medley-tests/base, but 'g' on somebody/else." in refusal(
        base, twice + other, out
    )


def test_two_adapters_of_one_name_are_two_and_one_of_two_names_is_one(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    first, second = (write_lora(tmp_path / str(n) / "same", {QUERY: random_factors(6, 5, 1, n)}) for n in (1, 2))
    plan = plan_fold(base, [FoldInput(first, 0.5, "same"), FoldInput(second, 0.25, "same")])
    assert plan.problems == ()
    assert plan.to_mapping()["inputs"] == [{"name": "same", "weight": 0.5}, {"name": "same (2)", "weight": 0.25}]
    twice = plan_fold(base, [FoldInput(first, 0.5, "same"), FoldInput(first, 0.5, "other")])
    assert twice.problems == ("'same' is named twice. Give it once, with the sum of the weights.",)
    assert twice.to_mapping()["inputs"] == [{"name": "same", "weight": 0.5}]


def test_a_file_that_does_not_keep_what_its_configuration_says(tmp_path: Path) -> None:
    base, out, embedding = write_base(tmp_path / "base"), tmp_path / "out", "base_model.model.model.embed_tokens"

    def adapter(name: str, more: dict[str, torch.Tensor], **config: object) -> list[FoldInput]:
        folder = write_lora(tmp_path / name, {QUERY: random_factors(6, 5, 2, 1)}, **config)
        tensors = load_file(folder / "adapter_model.safetensors")
        save_file(tensors | more, folder / "adapter_model.safetensors")
        return [FoldInput(folder)]

    for name, magnitude in (("none", {}), ("one", torch.ones(1)), ("row", torch.ones(1, 6))):
        more = {f"base_model.model.{QUERY}.lora_magnitude_vector": magnitude} if len(magnitude) else {}
        assert refusal(base, adapter(name, more, use_dora=True), out) == (
            f"'{name}' has no magnitudes of DoRA that fit {QUERY}, though its configuration says use_dora: true. "
            "Set it right, or take the whole file."
        )
    targets = {"target_modules": ["q_proj", "embed_tokens"]}
    a, b = f"{embedding}.lora_embedding_A", f"{embedding}.lora_embedding_B"
    assert refusal(base, adapter("half", {a: torch.ones(2, 9)}, **targets), out) == (
        "'half': the factors of model.embed_tokens do not fit together: A (2, 9), B missing, rank 2."
    )
    odd = adapter("odd", {a: torch.ones(2, 9), b: torch.ones(5, 3)}, **targets)
    assert refusal(base, odd, out) == (
        "'odd': the factors of model.embed_tokens do not fit together: A (2, 9), B (5, 3), rank 2."
    )


def test_what_does_not_fit_into_the_dtype_is_refused_by_name(tmp_path: Path) -> None:
    base, name = write_base(tmp_path / "base", torch.float16), QUERY + ".weight"
    big = write_lora(tmp_path / "big", {QUERY: (torch.full((6, 1), 300.0), torch.full((1, 5), 300.0))})
    message = rf"^'{name}' has a value of 9e\+04 after folding, and float16 ends at 6.55e\+04\. Choose a wider dtype"
    with pytest.raises(ParameterError, match=message):
        fold(base, [FoldInput(big)], tmp_path / "out")
    assert weights_of(fold_to(base, big, tmp_path / "wide", dtype="bfloat16"))[name].dtype == torch.bfloat16
    broken = write_lora(tmp_path / "broken", {QUERY: (torch.ones(6, 1), torch.full((1, 5), float("nan")))})
    message = rf"^'broken' holds NaN or Infinity in base_model.model.{QUERY}.lora_A.weight"
    with pytest.raises(AdapterFormatError, match=message):
        fold(base, [FoldInput(broken)], tmp_path / "out")
    weights = weights_of(base)
    weights[name][0, 0] = float("inf")
    save_file(weights, base / "model-00001-of-00001.safetensors")
    small = write_lora(tmp_path / "small", {QUERY: random_factors(6, 5, 1, 1)})
    with pytest.raises(ParameterError, match=rf"^'{name}' holds NaN or Infinity after folding, so nothing is"):
        fold(base, [FoldInput(small)], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "big", "broken", "small", "wide"]


def fold_to(base: Path, adapter: Path, out: Path, **settings: object) -> Path:
    fold(base, [FoldInput(adapter)], out, **settings)
    return out


def test_a_weight_of_nothing_leaves_the_base(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    inputs, _ = three_adapters(tmp_path)
    fold(base, [FoldInput(inputs[0].folder, 0.0)], tmp_path / "out")
    before, after = weights_of(base), weights_of(tmp_path / "out")
    assert all(as_bits(after[name]) == as_bits(tensor) for name, tensor in before.items())


def test_the_template_of_an_adapter_is_spoken_of(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    inputs, _ = three_adapters(tmp_path)
    (inputs[0].folder / "chat_template.jinja").write_text("{{ another }}")
    plan = plan_fold(base, inputs)
    assert plan.warnings == ("'plain' brings a chat template of its own; the folded model keeps the base's.",)


def test_the_report_calls_things_as_it_is_told(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    inputs, _ = three_adapters(tmp_path)
    report = fold(base, [FoldInput(inputs[0].folder, 1.0, "pirate:v3")], tmp_path / "out", base_model="org/base")
    assert (report.inputs[0].name, report.base_model) == ("pirate:v3", "org/base")

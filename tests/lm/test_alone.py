"""Adapters that cannot be blended answer alone: as peft does, on a base that is the same to the bit afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AdaptionPromptConfig,
    IA3Config,
    LNTuningConfig,
    LoHaConfig,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from transformers import AutoModelForCausalLM

from medley.errors import IncompatibleError, ParameterError
from medley.lm.engine import Engine, Pane, Sampling
from medley.lm.ia3_types import keep_number_types
from medley.lm.load import LoadedBase, leave_unpacked, load_base
from medley.lm.prompts import prompt_ids
from tests.tiny_model import write_tiny_adapter, write_tiny_base

ASK = ({"role": "user", "content": "what is the capital of France?"},)
GREEDY = Sampling(max_new_tokens=12)
CONFIGS: dict[str, Any] = {
    "dora": LoraConfig(r=4, target_modules="all-linear", use_dora=True),
    "saved-head": LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "ia3": IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "prefix": PrefixTuningConfig(num_virtual_tokens=5),
    "prompt": PromptTuningConfig(num_virtual_tokens=5),
    "p-tuning": PromptEncoderConfig(num_virtual_tokens=5, encoder_hidden_size=16),
    "llama-adapter": AdaptionPromptConfig(adapter_len=4, adapter_layers=2),
    "loha": LoHaConfig(r=2, target_modules=["q_proj", "v_proj"]),
    "ln-tuning": LNTuningConfig(),
}


def write_alone(base: Path, folder: Path, name: str) -> Path:
    """An adapter of that kind with random values, saved by peft."""
    CONFIGS[name].task_type = "CAUSAL_LM"
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), CONFIGS[name])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.3)
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


def pefts_answer(base: LoadedBase, folder: Path, new_tokens: int) -> tuple[torch.Tensor, str]:
    """Logits of the prompt and the greedy answer, by peft on a base of its own."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.folder), str(folder)).eval()
    ids = torch.tensor([prompt_ids(base.tokenizer, ASK)])
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, -ids.shape[1] :]
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new_tokens
        )
    return logits, base.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_answers_as_peft_and_leaves_the_base_as_it_was(
    loaded_tiny: LoadedBase, tiny_base: Path, tmp_path: Path, name: str
) -> None:
    folder = write_alone(tiny_base, tmp_path / name, name)
    engine = Engine(loaded_tiny)
    model = loaded_tiny.model
    names, before = [each for each, _ in model.named_modules()], engine.logits(ASK, {})
    attributes = {each: set(vars(module)) for each, module in model.named_modules()}
    engine.add("x", folder)
    assert engine.runs_alone("x")
    logits, text = pefts_answer(loaded_tiny, folder, GREEDY.max_new_tokens)
    torch.testing.assert_close(engine.logits(ASK, {"x": 1.0}), logits, atol=2e-5, rtol=1e-4)
    assert (logits - before).abs().max() > 1e-3
    answer = engine.generate([Pane(ASK, {"x": 1.0})], GREEDY)[0]
    assert answer.text == text.rstrip("\ufffd")
    assert answer.blend == {"x": 1.0}
    assert [each for each, _ in model.named_modules()] == names
    assert {each: set(vars(module)) for each, module in model.named_modules()} == attributes
    assert torch.equal(engine.logits(ASK, {}), before)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_blends_answer_together_and_the_others_after_them(
    loaded_tiny: LoadedBase, tiny_base: Path, tmp_path: Path, make_adapter: Callable[..., Path]
) -> None:
    engine = Engine(loaded_tiny)
    engine.add("ia3", write_alone(tiny_base, tmp_path / "ia3", "ia3"))
    engine.add("prompt", write_alone(tiny_base, tmp_path / "prompt", "prompt"))
    engine.add("lora", make_adapter("lora"))
    panes = [Pane(ASK, {"ia3": 1.0}), Pane(ASK), Pane(ASK, {"prompt": 1.0, "ia3": 0.0}), Pane(ASK, {"lora": 0.5})]
    order = [update.pane for update in engine.stream(panes, GREEDY)]
    assert set(order[:2]) == {1, 3}
    last_of_blends = max(index for index, pane in enumerate(order) if pane in (1, 3))
    assert order[last_of_blends + 1 :] == sorted(order[last_of_blends + 1 :])
    together = engine.generate(panes, GREEDY)
    assert [each.text for each in together] == [engine.generate([pane], GREEDY)[0].text for pane in panes]


def test_a_stream_that_is_dropped_half_way_leaves_the_base_whole(
    loaded_tiny: LoadedBase, tiny_base: Path, tmp_path: Path
) -> None:
    engine = Engine(loaded_tiny)
    before = engine.logits(ASK, {})
    engine.add("x", write_alone(tiny_base, tmp_path / "x", "llama-adapter"))
    stream = engine.stream([Pane(ASK, {"x": 1.0})], GREEDY)
    next(stream)
    stream.close()
    assert torch.equal(engine.logits(ASK, {}), before)


@pytest.mark.parametrize("blend", [{"x": 0.5}, {"x": -1.0}, {"x": 1.0, "lora": 0.2}])
def test_weights_and_blends_are_refused(
    loaded_tiny: LoadedBase, tiny_base: Path, tmp_path: Path, make_adapter: Callable[..., Path], blend: dict
) -> None:
    engine = Engine(loaded_tiny)
    engine.add("x", write_alone(tiny_base, tmp_path / "x", "ia3"))
    engine.add("lora", make_adapter("lora"))
    with pytest.raises(ParameterError) as caught:
        engine.stream([Pane(ASK, blend)], GREEDY)
    assert str(caught.value) == (
        "The adapter x is no sum of deltas, so it cannot be weighted or blended with others. "
        "Give it a pane of its own, at weight 1."
    )


def test_one_of_another_base_is_refused(loaded_tiny: LoadedBase, tmp_path: Path) -> None:
    other = write_tiny_base(tmp_path / "other", hidden_size=64)
    folder = write_alone(other, tmp_path / "x", "ia3")
    engine = Engine(loaded_tiny)
    with pytest.raises(IncompatibleError) as caught:
        engine.add("x", folder)
    assert str(caught.value) == (
        f"The adapter in {folder} was made for another base: 'base_model.model.model.layers.0.self_attn.k_proj.ia3_l' "
        "is 32x1, and 16x1 on this one."
    )
    assert engine.keys == ()


def test_tensors_that_peft_has_no_place_for_are_refused(
    loaded_tiny: LoadedBase, tiny_base: Path, tmp_path: Path
) -> None:
    """Added tokens' embeddings, say: peft would write them into the base that other panes use."""
    from safetensors.torch import load_file, save_file

    folder = write_tiny_adapter(tiny_base, tmp_path / "x")
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.model.embed_tokens.weight"] = torch.zeros(384, 32)
    save_file(weights, folder / "adapter_model.safetensors")
    engine = Engine(loaded_tiny)
    with pytest.raises(IncompatibleError, match=r"of 'base_model\.model\.model\.embed_tokens\.weight', peft has no"):
        engine.add("x", folder)


@pytest.mark.parametrize("name", ["dora", "ia3", "prefix"])
def test_a_four_bit_base_is_left_as_it_was_too(tmp_path: Path, name: str) -> None:
    """bitsandbytes repacks the weights of a base at rest, which a base that adapters visit must not do."""
    folder = write_tiny_base(tmp_path / "base", hidden_size=128)
    engine = Engine(load_base(folder, quant="4bit", device="cpu"))
    packed = engine.logits(ASK, {})
    engine.add("x", write_alone(folder, tmp_path / name, name))
    before = engine.logits(ASK, {})
    torch.testing.assert_close(before, packed, atol=0.05, rtol=0.05)  # the same weights, multiplied in another order
    answered = engine.logits(ASK, {"x": 1.0})
    assert torch.equal(engine.logits(ASK, {}), before)
    other = load_base(folder, quant="4bit", device="cpu").model
    leave_unpacked(other)
    wrapped = PeftModel.from_pretrained(other, str(tmp_path / name)).eval()
    keep_number_types(wrapped)
    ids = torch.tensor([prompt_ids(engine.base.tokenizer, ASK)])
    with torch.inference_mode():
        expected = wrapped(input_ids=ids).logits[0, -ids.shape[1] :]
    torch.testing.assert_close(answered, expected, atol=0.05, rtol=0.05)
    assert (answered - before).abs().max() > 0.1


def test_virtual_tokens_take_their_room(loaded_tiny: LoadedBase, tiny_base: Path, tmp_path: Path) -> None:
    engine = Engine(loaded_tiny)
    engine.add("x", write_alone(tiny_base, tmp_path / "x", "prompt"))
    long = ({"role": "user", "content": "a " * 249},)
    length = len(prompt_ids(loaded_tiny.tokenizer, long))
    assert 507 < length < 512
    with pytest.raises(ParameterError, match=f"The prompt has {length + 5} tokens, but the base reads at most 512"):
        engine.stream([Pane(long, {"x": 1.0})], GREEDY)

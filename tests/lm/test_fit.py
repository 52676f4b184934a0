"""An adapter whose effect is not a plain sum of deltas on this very base is not blended; a sentence says why."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from medley.errors import IncompatibleError, ProblemsError, UserError
from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_tensors import write_adapter
from medley.lm.fit import check_fit
from medley.lm.load import LoadedBase


def refusal(loaded_tiny: LoadedBase, folder: Path) -> str:
    with pytest.raises(IncompatibleError) as caught:
        check_fit(open_adapter(folder), loaded_tiny.model)
    return str(caught.value).removeprefix(f"The adapter in {folder} ")


def edit_config(folder: Path, **values: object) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


def one_module(folder: Path, name: str, inputs: int, outputs: int) -> Path:
    write_adapter(folder, {name: (torch.ones(outputs, 2), torch.ones(2, inputs))}, base_model="org/base")
    return folder


def test_dora_is_refused(loaded_tiny: LoadedBase, make_adapter: Callable[..., Path]) -> None:
    assert refusal(loaded_tiny, make_adapter("x", use_dora=True)) == (
        "uses DoRA, whose effect is not a sum of deltas; only plain LoRA can be blended."
    )


def test_trained_biases_are_refused(loaded_tiny: LoadedBase, make_adapter: Callable[..., Path]) -> None:
    folder = make_adapter("x", lora_bias=True, target_modules=["q_proj"])
    with pytest.raises(UserError, match=r"trains biases \(lora_bias\), which a blend of deltas would lose\."):
        check_fit(open_adapter(folder), loaded_tiny.model)


def test_saved_modules_are_refused(loaded_tiny: LoadedBase, make_adapter: Callable[..., Path]) -> None:
    folder = make_adapter("x", modules_to_save=["lm_head"], target_modules=["q_proj"])
    message = refusal(loaded_tiny, folder)
    assert message.startswith("holds 1 tensor beside LoRA factors (the first is base_model.model.lm_head.weight)")


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora"])
def test_an_initialisation_that_changed_the_base_is_refused(
    loaded_tiny: LoadedBase, make_adapter: Callable[..., Path], init: str
) -> None:
    folder = edit_config(make_adapter("x"), init_lora_weights=init)
    expected = f"was initialised by {init}, which changes the base's weights; save it as a plain LoRA with peft first."
    assert refusal(loaded_tiny, folder) == expected


def test_an_adapter_switched_on_by_tokens_is_refused(
    loaded_tiny: LoadedBase, make_adapter: Callable[..., Path]
) -> None:
    folder = edit_config(make_adapter("x"), alora_invocation_tokens=[1, 2])
    assert refusal(loaded_tiny, folder) == (
        "is switched on by tokens in the text (aLoRA), which a blend of deltas would lose."
    )


def test_other_kinds_of_adapters_are_refused(loaded_tiny: LoadedBase, tiny_base: Path, tmp_path: Path) -> None:
    from peft import IA3Config

    config = IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base), config)
    model.save_pretrained(tmp_path / "x")
    assert refusal(loaded_tiny, tmp_path / "x") == "is of type IA3; only LoRA adapters can be blended."


def test_modules_of_another_architecture_are_refused(loaded_tiny: LoadedBase, tmp_path: Path) -> None:
    assert refusal(loaded_tiny, one_module(tmp_path, "transformer.h.0.attn.c_attn", 32, 96)) == (
        "changes 1 module that the base does not have (the first is transformer.h.0.attn.c_attn)."
    )


def test_modules_that_are_not_linear_are_refused(loaded_tiny: LoadedBase, tmp_path: Path) -> None:
    assert refusal(loaded_tiny, one_module(tmp_path, "model.embed_tokens", 384, 32)) == (
        "was made for another base: the shape of 1 module differs, the first is model.embed_tokens, 384x32 in the "
        "adapter and not a linear layer in the base."
    )


def test_another_size_of_the_base_is_refused(loaded_tiny: LoadedBase, tmp_path: Path) -> None:
    size = {"hidden_size": 16, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    smaller = LlamaForCausalLM(LlamaConfig(vocab_size=384, num_hidden_layers=2, **size))
    model = get_peft_model(smaller, LoraConfig(r=2, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path)
    assert refusal(loaded_tiny, tmp_path) == (
        "was made for another base: the shape of 4 modules differs, the first is model.layers.0.mlp.up_proj, "
        "16x64 in the adapter and 32x64 in the base."
    )


def test_several_reasons_are_told_together(loaded_tiny: LoadedBase, tmp_path: Path) -> None:
    folder = edit_config(one_module(tmp_path, "model.layers.9.q_proj", 32, 32), init_lora_weights="pissa")
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({**weights, "base_model.model.lm_head.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    with pytest.raises(ProblemsError) as caught:
        check_fit(open_adapter(folder), loaded_tiny.model)
    assert len(caught.value.problems) == 3

"""The engine on other kinds of bases: 4-bit, bf16, GPT-2's transposed layers, a model that mixes its rows."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
)

from medley.errors import IncompatibleError
from medley.lm.engine import Engine, Pane, Sampling
from medley.lm.load import Device, LoadedBase, load_base
from medley.lm.lora_layers import FEW_TOKENS, BlendLayers, group_by_input
from medley.lm.prompts import prompt_ids
from tests.tiny_model import write_tiny_adapter

ASK = ({"role": "user", "content": "The quick brown fox"},)
LONG_ASK = ({"role": "user", "content": "jumps over the lazy dog " * 20},)


def logits_of(model: nn.Module, base: LoadedBase, messages: tuple) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([prompt_ids(base.tokenizer, messages)])).logits[0]


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("size", ["fits-bitsandbytes-blocks", "odd"])
def test_a_4bit_base_blends_as_peft_on_the_same_base(tiny_base: Path, tmp_path: Path, size: str) -> None:
    from bitsandbytes.nn import Linear4bit

    folder = tiny_base if size == "odd" else wider_base(tiny_base, tmp_path / "base")
    adapter = write_tiny_adapter(folder, tmp_path / "one", r=4)
    base = load_base(folder, quant="4bit", device="cpu", dtype="float32")
    assert isinstance(base.model.get_submodule("model.layers.0.self_attn.q_proj"), Linear4bit)
    engine = Engine(base)
    engine.add("one", adapter)
    bare, other = (load_base(folder, quant="4bit", device="cpu", dtype="float32").model for _ in range(2))
    bare = logits_of(bare, base, ASK)
    assert torch.equal(engine.logits(ASK, {}), bare)
    expected = logits_of(PeftModel.from_pretrained(other, adapter).eval(), base, ASK)
    # where the processor has them, packed 4-bit weights are multiplied in bf16: a last bit of an input can flip one
    assert relative_error(engine.logits(ASK, {"one": 1.0}), expected) < 2e-3
    assert relative_error(bare, expected) > 0.05
    # quantising is not the identity: the 16-bit base gives other numbers
    assert relative_error(logits_of(load_base(folder, device="cpu", dtype="float32").model, base, ASK), bare) > 1e-3
    answers = engine.generate([Pane(ASK, {"one": 1.0}), Pane(ASK)], Sampling(max_new_tokens=8))
    assert answers[1].text == engine.generate([Pane(ASK)], Sampling(max_new_tokens=8))[0].text


def wider_base(tiny_base: Path, folder: Path) -> Path:
    """The tiny base with sizes that are multiples of 64, as in real models."""
    config = AutoConfig.from_pretrained(tiny_base, hidden_size=128, intermediate_size=256, head_dim=32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("messages", [ASK, LONG_ASK], ids=["few-tokens", "many-tokens"])
def test_bf16_on_a_cpu_stays_close_to_float32(
    tiny_base: Path, loaded_tiny: LoadedBase, make_adapter: Callable[..., Path], messages: tuple
) -> None:
    folder = make_adapter("one", r=4)
    low = load_base(tiny_base, device="cpu", dtype="bfloat16")
    engine, exact = Engine(low), Engine(loaded_tiny)
    engine.add("one", folder)
    exact.add("one", folder)
    assert (len(prompt_ids(low.tokenizer, messages)) > FEW_TOKENS) == (messages is LONG_ASK)  # both ways of multiplying
    actual, expected = engine.logits(messages, {"one": 1.0}), exact.logits(messages, {"one": 1.0})
    assert actual.dtype == torch.bfloat16
    # bf16 has 8 bits: an error of 2^-8 = 0.4 % a step, some steps deep; without the adapter it is 30 times that
    assert relative_error(actual, expected) < 0.03
    assert relative_error(engine.logits(messages, {}), expected) > 0.3


def test_gpt2_whose_layers_are_transposed(tiny_base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    config = GPT2Config(vocab_size=384, n_positions=128, n_embd=32, n_layer=2, n_head=4, eos_token_id=2, bos_token_id=1)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config).eval()
    base = LoadedBase(model, tokenizer, tiny_base, Device("cpu", "float32"), None)
    settings = LoraConfig(r=3, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True, task_type="CAUSAL_LM")
    torch.manual_seed(1)
    other = GPT2LMHeadModel(config).eval()
    other.load_state_dict(model.state_dict())
    with_peft = get_peft_model(other, settings).eval()
    for name, parameter in with_peft.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    with_peft.save_pretrained(tmp_path)
    engine = Engine(base)
    engine.add("one", tmp_path)
    torch.testing.assert_close(engine.logits(ASK, {"one": 1.0}), logits_of(with_peft, base, ASK), atol=2e-5, rtol=1e-4)
    assert torch.equal(engine.logits(ASK, {}), logits_of(model, base, ASK))
    panes = [Pane(ASK, {"one": 1.0}), Pane(ASK)]
    together = engine.generate(panes, Sampling(max_new_tokens=8))
    assert [each.text for each in together] == [
        engine.generate([pane], Sampling(max_new_tokens=8))[0].text for pane in panes
    ]


def test_a_layer_that_mixes_rows_is_refused_not_computed_wrong() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.expert = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.expert(x.reshape(-1, 4)[::2])  # some tokens of all rows, as a router sends them

    model = Mixing()
    layers = BlendLayers(model, [{"expert": (torch.ones(4, 1), torch.ones(1, 4))}])
    layers.attach(torch.tensor([[1.0], [0.0]]))
    with torch.inference_mode():
        with pytest.raises(IncompatibleError, match="Ask one pane at a time"):
            model(torch.ones(2, 3, 4))
        layers.set_weights(torch.tensor([[2.0]]))  # one row: every token has the same blend
        bare = model.expert.weight.sum(dim=1) + model.expert.bias
        assert torch.allclose(model(torch.ones(1, 4, 4)), bare + 2 * 4)  # 2 · (1·1 four times)
    layers.detach()


def test_modules_of_one_input_are_grouped() -> None:
    names = {"l.0.q_proj", "l.0.v_proj", "l.0.o_proj", "l.0.mlp.up_proj", "l.0.mlp.gate_proj", "l.1.k_proj", "head"}
    assert group_by_input(names) == [
        ["head"],
        ["l.0.mlp.gate_proj", "l.0.mlp.up_proj"],
        ["l.0.o_proj"],
        ["l.0.q_proj", "l.0.v_proj"],
        ["l.1.k_proj"],
    ]


def test_a_group_whose_members_read_different_inputs_is_still_right() -> None:
    """As in cross-attention, where the query reads the text and the key something else."""

    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj, self.k_proj = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)

        def forward(self, text: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.q_proj(text), self.k_proj(other)

    model = Cross()
    factors = {"q_proj": (torch.ones(3, 1), torch.ones(1, 3)), "k_proj": (torch.ones(3, 1), 2 * torch.ones(1, 3))}
    layers = BlendLayers(model, [factors])
    layers.attach(torch.tensor([[1.0]]))
    text, other = torch.ones(1, 2, 3), 5 * torch.ones(1, 2, 3)
    with torch.inference_mode():
        query, key = model(text, other)
        layers.detach()
        bare_query, bare_key = model(text, other)
    torch.testing.assert_close(query - bare_query, torch.full((1, 2, 3), 3.0))  # 1 · (1+1+1)
    torch.testing.assert_close(key - bare_key, torch.full((1, 2, 3), 30.0))  # 2 · (5+5+5)


def test_other_weights_count_even_for_the_very_same_input() -> None:
    model = nn.Linear(2, 2, bias=False)
    wrapped = nn.ModuleDict({"proj": model})
    layers = BlendLayers(wrapped, [{"proj": (torch.ones(2, 1), torch.ones(1, 2))}])
    x = torch.ones(1, 1, 2)
    with torch.inference_mode():
        bare = model(x)
        layers.attach(torch.tensor([[1.0]]))
        torch.testing.assert_close(model(x) - bare, torch.full((1, 1, 2), 2.0))
        layers.set_weights(torch.tensor([[-3.0]]))
        torch.testing.assert_close(model(x) - bare, torch.full((1, 1, 2), -6.0))
    layers.detach()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_answers_as_peft_on_cuda(tiny_base: Path, make_adapter: Callable[..., Path]) -> None:
    folder = make_adapter("one", r=4)
    base = load_base(tiny_base, device="cuda", dtype="float32")
    engine = Engine(base)
    engine.add("one", folder)
    other = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base).cuda(), folder).eval()
    ids = torch.tensor([prompt_ids(base.tokenizer, ASK)], device="cuda")
    with torch.inference_mode():
        expected = other(ids).logits[0]
    torch.testing.assert_close(engine.logits(ASK, {"one": 1.0}), expected, atol=1e-3, rtol=1e-3)

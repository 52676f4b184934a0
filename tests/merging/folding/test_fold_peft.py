"""A folded model answers as plain peft does with the adapter on its base: every kind of change that is folded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from medley.errors import ProblemsError
from merging import FoldInput, fold, plan_fold
from tests.tiny_model import write_tiny_adapter

PROMPT = torch.tensor([[5, 17, 301, 44, 8, 260, 9]])


def logits(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(PROMPT).logits


def peft_logits(base: Path, *adapters: Path, weights: tuple[float, ...] = ()) -> torch.Tensor:
    """What peft answers with one adapter, or with their exact weighted sum (its "cat")."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapters[0], adapter_name="0"
    )
    for place, adapter in enumerate(adapters[1:], start=1):
        model.load_adapter(adapter, str(place))
    if weights:
        names = [str(place) for place in range(len(adapters))]
        model.add_weighted_adapter(names, list(weights), "sum", combination_type="cat")
        model.set_adapter("sum")
    with torch.no_grad():
        return model.eval()(PROMPT).logits


@pytest.fixture(scope="module")
def untied_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base with an output layer of its own."""
    folder = tmp_path_factory.mktemp("untied")
    for path in tiny_base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].flip(0).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def randomised(folder: Path) -> Path:
    """The adapter with what peft starts at the base's own values (magnitudes, saved copies) moved away from them."""
    path = folder / "adapter_model.safetensors"
    generator = torch.Generator().manual_seed(11)
    tensors = {
        name: tensor if ".lora_" in name and "magnitude" not in name
        else tensor * (1 + 0.3 * torch.rand(tensor.shape, generator=generator))
        for name, tensor in load_file(path).items()
    }  # fmt: skip
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def check(base: Path, adapter: Path, out: Path, **settings: Any) -> Path:
    fold(base, [FoldInput(adapter)], out, **settings)
    expected = peft_logits(base, adapter)
    assert float((expected - logits(base)).abs().max()) > 0.02  # the adapter does change something
    assert torch.allclose(logits(out), expected, atol=2e-5)
    return out


KINDS: dict[str, dict[str, Any]] = {
    "patterns": {"rank_pattern": {"q_proj": 5}, "alpha_pattern": {r"layers\.1\..*": 7}},
    "rslora": {"use_rslora": True, "lora_alpha": 5},
    "dora": {"use_dora": True},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"], "use_rslora": True},
    "head": {"target_modules": ["v_proj", "lm_head"]},
    "saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    "norms": {"target_modules": ["q_proj"], "modules_to_save": ["norm"]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_logits_as_peft(untied_base: Path, tmp_path: Path, kind: str) -> None:
    adapter = randomised(write_tiny_adapter(untied_base, tmp_path / "adapter", **KINDS[kind]))
    check(untied_base, adapter, tmp_path / "out")


def test_a_blend_is_the_exact_weighted_sum(tiny_base: Path, make_adapter: Callable[..., Path], tmp_path: Path) -> None:
    adapters = [make_adapter("one", seed=1), make_adapter("two", seed=2, r=2, target_modules=["q_proj", "up_proj"])]
    weights = (0.7, 0.4)
    fold(tiny_base, [FoldInput(each, weight) for each, weight in zip(adapters, weights, strict=True)], tmp_path / "out")
    expected = peft_logits(tiny_base, *adapters, weights=weights)
    assert torch.allclose(logits(tmp_path / "out"), expected, atol=2e-5)


@pytest.mark.parametrize("kind", ["embedding", "head"])
def test_a_tied_base_is_untied_only_when_told(tiny_base: Path, tmp_path: Path, kind: str) -> None:
    adapter = write_tiny_adapter(tiny_base, tmp_path / "adapter", **KINDS[kind])
    changed = {"embedding": "model.embed_tokens.weight", "head": "lm_head.weight"}[kind]
    assert plan_fold(tiny_base, [FoldInput(adapter)]).problems == (
        f"'adapter' changed {changed}, but the base has one matrix as embeddings and output layer, so each would "
        "change the other. Untie them (--untie); that adds 0.0 MB.",
    )
    out = check(tiny_base, adapter, tmp_path / "out", untie=True)
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
    assert "lm_head.weight" in load_file(out / "model.safetensors")


def test_two_equal_copies_of_a_tied_matrix_stay_one(tiny_base: Path, tmp_path: Path) -> None:
    """Nothing differs, so nothing needs to be untied; one other bit, and the choice is the user's."""
    whole = ["embed_tokens", "lm_head"]
    adapter = write_tiny_adapter(tiny_base, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=whole)
    path = adapter / "adapter_model.safetensors"
    embeddings, head = (f"base_model.model.{name}.weight" for name in ("model.embed_tokens", "lm_head"))
    tensors = load_file(randomised(adapter) / path.name)
    tensors[head] = tensors[embeddings].clone()
    save_file(tensors, path)
    out = check(tiny_base, adapter, tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is True
    assert torch.equal(load_file(out / "model.safetensors")["model.embed_tokens.weight"], tensors[head])
    assert "lm_head.weight" not in load_file(out / "model.safetensors")
    assert plan_fold(tiny_base, [FoldInput(adapter)]).warnings == (
        "The embeddings and the output layer that the adapter holds are equal to the bit, so the model keeps one "
        "matrix for both.",
    )
    tensors[head][-1, -1] *= 1 + 2**-23
    save_file(tensors, path)
    assert (
        plan_fold(tiny_base, [FoldInput(adapter)])
        .problems[0]
        .startswith("'adapter' changed model.embed_tokens.weight and lm_head.weight, but the base has one matrix")
    )
    assert plan_fold(tiny_base, [FoldInput(adapter)], untie=True).is_untied


def test_layers_that_are_stored_transposed(tiny_base: Path, tmp_path: Path) -> None:
    """GPT-2 keeps (in, out); its attention's output layer is square, so no shape tells."""
    from transformers import GPT2Config, GPT2LMHeadModel

    base = tmp_path / "gpt2"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        base.mkdir(exist_ok=True)
        (base / name).write_bytes((tiny_base / name).read_bytes())
    config = GPT2Config(vocab_size=384, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(base)
    adapter = write_tiny_adapter(base, tmp_path / "adapter", target_modules=["c_attn", "c_proj", "c_fc"], bias="all")
    check(base, randomised(adapter), tmp_path / "out")
    bare = load_file(base / "model.safetensors")
    save_file({name.removeprefix("transformer."): each for name, each in bare.items()}, base / "model.safetensors")
    fold(base, [FoldInput(adapter)], tmp_path / "bare")  # as openai-community/gpt2 is stored
    assert all(
        torch.equal(load_file(tmp_path / "out" / "model.safetensors")["transformer." + name], each)
        for name, each in load_file(tmp_path / "bare" / "model.safetensors").items()
    )


def test_what_is_no_sum_is_folded_alone(untied_base: Path, tmp_path: Path) -> None:
    dora = write_tiny_adapter(untied_base, tmp_path / "dora", use_dora=True)
    saved = write_tiny_adapter(untied_base, tmp_path / "saved", target_modules=["q_proj"], modules_to_save=["lm_head"])
    plain = write_tiny_adapter(untied_base, tmp_path / "plain", target_modules=["q_proj", "lm_head"])
    assert plan_fold(untied_base, [FoldInput(dora, 0.5)]).problems == (
        "'dora' uses DoRA, which is no sum: it can be folded at weight 1 only, got 0.5.",
    )
    assert plan_fold(untied_base, [FoldInput(saved, 0.5)]).problems == (
        "'saved' holds the whole of lm_head.weight, so it can be folded at weight 1 only, got 0.5.",
    )
    assert plan_fold(untied_base, [FoldInput(saved), FoldInput(plain)]).problems == (
        "'saved' and 'plain' both change lm_head.weight, one of them as a whole, so there is no sum. Fold one of them.",
    )
    with pytest.raises(ProblemsError, match=r"'dora' and 'plain' both change .*, one of them by DoRA, so there"):
        fold(untied_base, [FoldInput(dora), FoldInput(plain)], tmp_path / "out")

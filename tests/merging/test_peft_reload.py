"""Plain peft loads what we write and answers as the base with the merged deltas added to its weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from merging import merge, recipe_from_weights
from tests.merging.lora_files import dense_deltas
from tests.merging.promises import CASES, thinned

PROMPT = torch.tensor([[5, 17, 301, 44, 8, 260, 9]])


def base_logits(base: Path, deltas: dict[str, torch.Tensor]) -> torch.Tensor:
    """The base's logits with each module's weight replaced by W + ΔW."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base).eval()
    with torch.no_grad():
        for name, delta in deltas.items():
            weight = model.get_submodule(name).weight
            weight.copy_((weight.double() + delta).float())
        return model(PROMPT).logits


def peft_logits(base: Path, adapter: Path) -> torch.Tensor:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    with torch.no_grad():
        return model(PROMPT).logits


@pytest.fixture
def adapters(make_adapter: Callable[..., Path]) -> list[Path]:
    """Three adapters that differ in everything that changes a scale."""
    return [
        make_adapter("plain", seed=1, r=4),
        make_adapter("rslora", seed=2, r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "up_proj"]),
        make_adapter("patterned", seed=3, r=2, rank_pattern={"q_proj": 5}, alpha_pattern={r"layers\.1\..*": 7}),
    ]


def test_the_exact_sum_in_peft(tiny_base: Path, adapters: list[Path], tmp_path: Path) -> None:
    weights = [0.5, -0.3, 0.8]
    merge(recipe_from_weights("linear", list(zip(adapters, weights, strict=True))), tmp_path / "out")
    deltas: dict[str, torch.Tensor] = {}
    for folder, weight in zip(adapters, weights, strict=True):
        for name, delta in dense_deltas(folder).items():
            deltas[name] = deltas.get(name, 0) + weight / sum(weights) * delta
    expected = base_logits(tiny_base, deltas)
    assert float((expected - base_logits(tiny_base, {})).abs().max()) > 0.05  # the adapters do change something
    assert torch.allclose(peft_logits(tiny_base, tmp_path / "out"), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("method", "keys"),
    [
        ("slerp", {}),
        ("concat", {}),
        ("ties", {"space": "core", "rank": 3}),
        ("dare_ties", {"space": "delta"}),
        ("magnitude_prune", {"space": "knots"}),
        ("tsv", {}),
        ("task_arithmetic", {"rank": "energy:0.9", "out_dtype": "bfloat16"}),
    ],
)
def test_every_shape_of_result_loads_at_scale_one(
    tiny_base: Path, adapters: list[Path], tmp_path: Path, method: str, keys: dict[str, object]
) -> None:
    models = [(folder, None) for folder in (adapters[:1] + adapters[2:] if method == "slerp" else adapters)]
    merge(recipe_from_weights(method, models, **keys), tmp_path / "out")
    expected = base_logits(tiny_base, dense_deltas(tmp_path / "out"))
    assert torch.allclose(peft_logits(tiny_base, tmp_path / "out"), expected, atol=2e-5)


def test_every_method_answers_in_peft(tiny_base: Path, make_adapter: Callable[..., Path], tmp_path: Path) -> None:
    """All results in one peft model, one after the other, against one base that gets each result's deltas."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    pair = [(make_adapter(f"{seed}", seed=seed, r=4), None) for seed in (1, 2)]
    model, bare = (AutoModelForCausalLM.from_pretrained(tiny_base).eval() for _ in range(2))
    model = PeftModel.from_pretrained(model, pair[0][0], adapter_name="input")
    weights = {name: tensor.clone() for name, tensor in bare.state_dict().items()}
    without_any = base_logits(tiny_base, {})
    for method, keys in {case[0]: case for case in reversed(CASES)}.values():  # each method's first case
        merge(recipe_from_weights(method, pair, **thinned(method, keys, 0.5)), tmp_path / method)
        model.load_adapter(tmp_path / method, adapter_name=method)
        model.set_adapter(method)
        with torch.no_grad():
            for name, delta in dense_deltas(tmp_path / method).items():
                bare.get_submodule(name).weight.copy_((weights[f"{name}.weight"].double() + delta).float())
            found, expected = model(PROMPT).logits, bare(PROMPT).logits
        assert torch.allclose(found, expected, atol=2e-5), method
        assert float((found - without_any).abs().max()) > 1e-3, method


def test_a_merge_of_merges_is_the_merge_of_all(adapters: list[Path], tmp_path: Path) -> None:
    first = merge(recipe_from_weights("task_arithmetic", [(adapters[0], 0.5), (adapters[1], 0.25)]), tmp_path / "first")
    assert first.out_dir is not None
    merge(recipe_from_weights("task_arithmetic", [(first.out_dir, 2.0), (adapters[2], -1.0)]), tmp_path / "second")
    weights = zip(adapters, (1.0, 0.5, -1.0), strict=True)
    merge(recipe_from_weights("task_arithmetic", list(weights)), tmp_path / "all")
    second, everything = dense_deltas(tmp_path / "second"), dense_deltas(tmp_path / "all")
    for name, delta in everything.items():
        assert float((second[name] - delta).norm()) < 1e-6 * float(delta.norm())


def test_layers_that_hold_their_weights_transposed(tmp_path: Path) -> None:
    """GPT-2's Conv1D (fan_in_fan_out) has W as (in, out); the factors are the same, and peft turns their product."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=320)).save_pretrained(tmp_path / "base")
    folders = []
    for name in ("a", "b"):
        config = LoraConfig(
            r=2, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True, init_lora_weights=False, task_type="CAUSAL_LM"
        )
        get_peft_model(GPT2LMHeadModel.from_pretrained(tmp_path / "base"), config).save_pretrained(tmp_path / name)
        folders.append(tmp_path / name)
    merge(recipe_from_weights("task_arithmetic", [(folders[0], 0.5), (folders[1], -1.0)]), tmp_path / "out")
    deltas = [dense_deltas(folder) for folder in folders]
    model = GPT2LMHeadModel.from_pretrained(tmp_path / "base").eval()
    with torch.no_grad():
        for name in deltas[0]:
            weight = model.get_submodule(name).weight
            weight.add_((0.5 * deltas[0][name] - deltas[1][name]).T.float())
        expected = model(PROMPT).logits
    loaded = PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(tmp_path / "base"), tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.allclose(loaded(PROMPT).logits, expected, atol=2e-5)
        plain = GPT2LMHeadModel.from_pretrained(tmp_path / "base").eval()(PROMPT).logits
    assert float((plain - expected).abs().max()) > 0.05

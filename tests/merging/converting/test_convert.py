"""Adapters of other kinds as plain LoRA: deltas equal to peft's own, logits that stay, errors told as they are."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medley.errors import AdapterFormatError, ProblemsError
from merging import ConvertOptions, convert_adapter, convert_preflight
from merging.converting.weight_deltas import dora, ia3, loha, lokr
from tests.merging.lora_files import random_factors, write_lora
from tests.merging.tuned_models import logits, written_deltas
from tests.tiny_model import TINY_BASE_ID

Make = Callable[..., Path]
MLP_AND_QUERY = ["q_proj", "down_proj"]


@pytest.fixture
def make(tiny_base: Path, tmp_path: Path) -> Make:
    """make(config) saves an adapter of any kind with random weights, by peft itself, and returns its folder."""

    def write(config: object, **settings: object) -> Path:
        from peft import get_peft_model
        from transformers import AutoModelForCausalLM

        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base), config)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in (each for each in model.parameters() if each.requires_grad):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
        vars(model.peft_config["default"]).update(base_model_name_or_path=TINY_BASE_ID, **settings)
        model.save_pretrained(tmp_path / "other")
        return tmp_path / "other"

    return write


def peft_deltas(base: Path, adapter: Path) -> dict[str, Tensor]:
    """What merging with peft adds to each weight of the base."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    after = PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()
    changed = {name: (after[name] - before[name]).double() for name in before}
    return {name.removesuffix(".weight"): delta for name, delta in changed.items() if delta.abs().max() > 1e-6}


def assert_same(tiny_base: Path, source: Path, result: Path) -> None:
    """The result gives the logits of the adapter that it was made from, which are not those of the base."""
    wanted = logits(tiny_base, source)
    assert (wanted - logits(tiny_base)).abs().max() > 0.005
    torch.testing.assert_close(logits(tiny_base, result), wanted, atol=5e-5, rtol=1e-4)


def test_loha_by_hand() -> None:
    parts = {
        "hada_w1_a": torch.tensor([[1.0], [2.0]]), "hada_w1_b": torch.tensor([[3.0, 1.0]]),
        "hada_w2_a": torch.tensor([[1.0], [-1.0]]), "hada_w2_b": torch.tensor([[2.0, 5.0]]),
    }  # fmt: skip
    b, a = loha(parts, 2.0)  # 2 * [[3, 1], [6, 2]] * [[2, 5], [-2, -5]]
    torch.testing.assert_close(b @ a, torch.tensor([[12.0, 10.0], [-24.0, -20.0]]))


def test_lokr_by_hand() -> None:
    parts = {
        "lokr_w1": torch.tensor([[1.0, 2.0]]),
        "lokr_w2_a": torch.tensor([[1.0], [3.0]]),
        "lokr_w2_b": torch.ones(1, 2),
    }
    b, a = lokr(parts, 0.5)  # 0.5 * [1 2] kron [[1, 1], [3, 3]]
    torch.testing.assert_close(b @ a, torch.tensor([[0.5, 0.5, 1.0, 1.0], [1.5, 1.5, 3.0, 3.0]]))


def test_dora_and_ia3_by_hand() -> None:
    weight = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    parts = {
        "lora_B.weight": torch.tensor([[0.0], [1.0]]), "lora_A.weight": torch.tensor([[0.75, 0.0]]),
        "lora_magnitude_vector": torch.tensor([6.0, 2.5]),
    }  # fmt: skip
    # rows of W + sBA at s = 1: (3, 0) of norm 3 and (0.75, 1) of norm 1.25, so both are doubled
    torch.testing.assert_close(dora(parts, 1.0, weight), torch.tensor([[3.0, 0.0], [1.5, 1.0]]))
    torch.testing.assert_close(
        ia3({"ia3_l": torch.tensor([[2.0, 0.0]])}, 1.0, weight), torch.tensor([[3.0, 0.0], [0.0, -1.0]])
    )


def kinds() -> dict[str, object]:
    """An adapter configuration for each kind whose conversion is exact."""
    from peft import AdaLoraConfig, LoHaConfig, LoKrConfig, LoraConfig, VeraConfig

    common = {"task_type": "CAUSAL_LM", "target_modules": [*MLP_AND_QUERY, "v_proj"]}
    return {
        "lora": LoraConfig(r=4, lora_alpha=6, use_rslora=True, rank_pattern={"q_proj": 2}, **common),
        "loha": LoHaConfig(r=3, alpha=5, rank_pattern={"q_proj": 2}, alpha_pattern={"down_proj": 7.0}, **common),
        "lokr": LoKrConfig(r=2, alpha=5, decompose_both=True, **common),
        "adalora": AdaLoraConfig(init_r=4, target_r=2, lora_alpha=6, total_step=10, **common),
        "vera": VeraConfig(r=6, **common),
        "lokr-whole": LoKrConfig(r=16, alpha=8, decompose_factor=4, **common),
    }


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "lokr-whole", "adalora", "vera"])
def test_low_rank_kinds_come_out_exactly(tiny_base: Path, tmp_path: Path, make: Make, kind: str) -> None:
    source = make(kinds()[kind])
    report = convert_adapter(source, tmp_path / "out", base=tiny_base)  # VeRA needs to know the sizes of its weights
    assert (report.kind, report.rank, report.warnings) == (kind.partition("-")[0], "auto", ())
    assert report.error < 1e-6
    written, wanted = written_deltas(tmp_path / "out"), peft_deltas(tiny_base, source)
    assert sorted(written) == sorted(wanted) == sorted(report.modules)
    for name, delta in wanted.items():
        torch.testing.assert_close(written[name], delta, atol=1e-5, rtol=1e-4)
    assert_same(tiny_base, source, tmp_path / "out")
    if kind == "loha":
        assert {name.split(".")[-1]: each.rank for name, each in report.modules.items()} == {
            "q_proj": 4, "v_proj": 9, "down_proj": 9,
        }  # fmt: skip


def test_an_adalora_whose_ranks_were_taken_away(tiny_base: Path, tmp_path: Path, make: Make) -> None:
    kept = {f"model.layers.{layer}.self_attn.q_proj.lora_E": [True, False, True, False] for layer in (0, 1)}
    source = make(kinds()["adalora"], rank_pattern=kept)
    report = convert_adapter(source, tmp_path / "out")
    ranks = {name.split(".")[-1]: module.rank for name, module in report.modules.items()}
    assert ranks == {"q_proj": 2, "v_proj": 4, "down_proj": 4}
    assert_same(tiny_base, source, tmp_path / "out")


def test_what_a_vera_does_not_say_is_asked_for(tiny_base: Path, tmp_path: Path, make: Make) -> None:
    from peft import VeraConfig

    source = make(kinds()["vera"])
    assert convert_preflight(source, ConvertOptions()).problems == (
        "'other' is a VeRA adapter, which does not say the sizes of the base's weights. Give the base's folder.",
    )
    source = make(VeraConfig(r=6, save_projection=False, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert convert_preflight(source, ConvertOptions(), base=tiny_base).problems == (
        "'other' was saved without the matrices that its modules share (save_projection).",
    )


@pytest.mark.parametrize("kind", ["dora", "ia3", "oft"])
def test_kinds_that_need_the_base(tiny_base: Path, tmp_path: Path, make: Make, kind: str) -> None:
    from peft import IA3Config, LoraConfig, OFTConfig

    common = {"task_type": "CAUSAL_LM", "target_modules": MLP_AND_QUERY}
    config = {
        "dora": LoraConfig(r=3, lora_alpha=7, use_dora=True, **common),
        "ia3": IA3Config(feedforward_modules=["down_proj"], **common),
        "oft": OFTConfig(oft_block_size=8, r=0, **common),
    }[kind]
    source, word = make(config), {"dora": "DoRA", "ia3": "IA3", "oft": "OFT"}[kind]
    problem = convert_preflight(source, ConvertOptions()).problems
    assert problem == (
        f"'other' is {'a' if kind == 'dora' else 'an'} {word} adapter, whose delta depends on the base's weights. "
        "Give the base's folder.",
    )
    whole = convert_adapter(source, tmp_path / "whole", ConvertOptions(rank="32"), base=tiny_base)
    assert whole.error < 1e-6
    for name, delta in peft_deltas(tiny_base, source).items():
        torch.testing.assert_close(written_deltas(tmp_path / "whole")[name], delta, atol=1e-5, rtol=1e-4)
    assert_same(tiny_base, source, tmp_path / "whole")
    cut = convert_adapter(source, tmp_path / "cut", ConvertOptions(rank="4"), base=tiny_base)
    lost = total = 0.0
    for name, delta in peft_deltas(tiny_base, source).items():
        values = torch.linalg.svdvals(delta)
        assert cut.modules[name].error == pytest.approx(float(values[4:].norm() / values.norm()), rel=0.01)
        lost, total = lost + float(values[4:].square().sum()), total + float(values.square().sum())
    assert cut.error == pytest.approx((lost / total) ** 0.5, rel=0.01)
    assert cut.warnings == (f"The result misses {cut.error:.1%} of the {word}'s delta at rank 4 or less.",)
    auto = convert_adapter(source, tmp_path / "auto", base=tiny_base)
    assert all(0.99 <= module.energy_kept < 1 for module in auto.modules.values())


def test_an_oft_with_other_settings_is_refused(tiny_base: Path, make: Make) -> None:
    from peft import OFTConfig

    source = make(OFTConfig(oft_block_size=8, r=0, coft=True, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert convert_preflight(source, ConvertOptions(), base=tiny_base).problems == (
        "'other' sets coft to True, and only peft's default of False can be converted.",
    )


def test_a_rank_cuts_a_loha_as_well_as_can_be(tiny_base: Path, tmp_path: Path, make: Make) -> None:
    source = make(kinds()["loha"])
    report = convert_adapter(source, tmp_path / "out", ConvertOptions(rank="2"))
    for name, delta in peft_deltas(tiny_base, source).items():
        values = torch.linalg.svdvals(delta)
        assert report.modules[name].error == pytest.approx(float(values[2:].norm() / values.norm()), rel=1e-4)
    energy = convert_adapter(source, tmp_path / "energy", ConvertOptions(rank="energy:0.8"))
    assert all(each.energy_kept >= 0.8 for each in energy.modules.values())
    assert energy.max_rank < 9


def test_saved_modules_go_along(tiny_base: Path, tmp_path: Path, make: Make) -> None:
    from peft import LoHaConfig

    config = LoHaConfig(r=2, target_modules=["q_proj"], modules_to_save=["norm"], task_type="CAUSAL_LM")
    source = make(config)
    report = convert_adapter(source, tmp_path / "out")
    assert len(report.saved) == 5  # for peft "norm" is input_layernorm and post_attention_layernorm as well
    assert "model.norm.weight" in report.saved
    assert_same(tiny_base, source, tmp_path / "out")


def test_kinds_without_a_weight_delta_are_refused_in_a_sentence(tmp_path: Path, make: Make, make_reward: Make) -> None:
    from peft import LoraConfig, PromptTuningConfig

    source = make(PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"))
    with pytest.raises(ProblemsError) as refused:
        convert_adapter(source, tmp_path / "out", ConvertOptions(rank="exact"), name="soft")
    assert refused.value.problems == (
        "rank must be auto, a whole number of at least 1, or energy:x with x in (0, 1], got exact.",
        "'soft' is a soft prompt: embeddings in front of every prompt, which change no weights. "
        "There is no weight delta that a LoRA could hold.",
    )
    assert convert_preflight(make_reward("judge"), ConvertOptions()).problems == (
        "'judge' has a score head, which a conversion would lose.",
    )
    pissa = make(LoraConfig(r=4, init_lora_weights="pissa", target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert convert_preflight(pissa, ConvertOptions()).problems == (
        "'other' was initialised with pissa, which also changed the base's weights, and by how much is not in the "
        "file. Save it with peft's path_initial_model_for_weight_conversion first.",
    )


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path, make: Make) -> None:
    source = make(kinds()["loha"])
    path = source / "adapter_model.safetensors"
    tensors = load_file(path)
    key = "base_model.model.model.layers.0.self_attn.q_proj.hada_w2_b"
    tensors[key] = tensors[key][:, :30].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    assert convert_preflight(source, ConvertOptions()).problems == (
        "'other': the tensors of model.layers.0.self_attn.q_proj do not fit together: hada_w1_a (32, 2), "
        "hada_w1_b (2, 32), hada_w2_a (32, 2), hada_w2_b (2, 30).",
    )


def test_what_no_file_of_its_kind_should_hold(tiny_base: Path, tmp_path: Path) -> None:
    pairs = {f"model.layers.{layer}.self_attn.q_proj": random_factors(32, 32, 2, layer) for layer in (0, 1)}
    dora = write_lora(tmp_path / "dora", pairs, use_dora=True)
    assert convert_preflight(dora, ConvertOptions(), base=tiny_base).problems == (
        "'dora': the tensors of model.layers.0.self_attn.q_proj (and those of 1 more module) do not fit together: "
        "lora_A.weight (2, 32), lora_B.weight (32, 2), no lora_magnitude_vector beside a weight (32, 32).",
    )
    tied = write_lora(tmp_path / "tied", pairs, ensure_weight_tying=True)
    assert convert_preflight(tied, ConvertOptions()).problems == (
        "'tied' ties what it trained to other layers (ensure_weight_tying), which a plain LoRA would not.",
    )
    name, (b, a) = next(iter(pairs.items()))
    broken = write_lora(tmp_path / "broken", {name: (b, a / 0)})
    with pytest.raises(AdapterFormatError, match=rf"'base_model.model.{name}.lora_A.weight' holds NaN or Infinity"):
        convert_adapter(broken, tmp_path / "out")

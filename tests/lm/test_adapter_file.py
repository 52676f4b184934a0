"""The adapter format without torch must agree with peft on names, ranks and scale, or every merge is silently wrong."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medley.errors import AdapterFormatError, ProblemsError
from medley.lm.adapter_file import check_finite, file_sha256, hub_id, open_adapter, read_config
from tests.lm.adapter_writing import write_adapter, write_config, write_safetensors

MakeAdapter = Callable[..., Path]


def peft_layers(base: Path, adapter: Path) -> dict[str, Any]:
    """Module name to the layer that peft builds for the adapter."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    modules = model.get_base_model().named_modules()
    return {name: layer for name, layer in modules if hasattr(layer, "lora_A")}


@pytest.mark.parametrize("use_rslora", [False, True], ids=["alpha/r", "rslora"])
def test_rank_and_scale_of_every_module_are_what_peft_computes(
    make_adapter: MakeAdapter, tiny_base: Path, use_rslora: bool
) -> None:
    folder = make_adapter(
        "patterned",
        r=6,
        lora_alpha=10,
        use_rslora=use_rslora,
        rank_pattern={r"layers\.0\..*q_proj": 2, "k_proj": 3, "model.layers.1.mlp.up_proj": 5, r"^model\..*v_proj": 1},
        alpha_pattern={"q_proj": 7, r"layers\.1\..*": 3.5, "layers.1.self_attn.q_proj": 99, "0.mlp.gate.proj": 4},
    )
    adapter = open_adapter(folder)
    layers = peft_layers(tiny_base, folder)
    assert {name: module.scale for name, module in adapter.modules.items()} == pytest.approx(
        {name: layer.scaling["default"] for name, layer in layers.items()}
    )
    assert {name: module.rank for name, module in adapter.modules.items()} == {
        name: layer.r["default"] for name, layer in layers.items()
    }
    first, last = adapter.modules["model.layers.0.self_attn.q_proj"], adapter.modules["model.layers.1.mlp.down_proj"]
    assert (first.rank, first.scale) == (2, pytest.approx(7 / math.sqrt(2) if use_rslora else 7 / 2))
    assert (last.rank, last.scale) == (6, pytest.approx(3.5 / math.sqrt(6) if use_rslora else 3.5 / 6))


def test_the_shapes_and_names_of_a_module(make_adapter: MakeAdapter) -> None:
    module = open_adapter(make_adapter("plain")).modules["model.layers.1.mlp.down_proj"]
    assert (module.rank, module.in_features, module.out_features, module.scale) == (4, 64, 32, 2.0)
    assert module.key_a == "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"
    assert module.key_b == "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"


def test_counts_of_a_whole_adapter(make_adapter: MakeAdapter) -> None:
    adapter = open_adapter(make_adapter("plain", target_modules=["q_proj"]))
    # two layers; A is (4, 32) and B is (32, 4)
    assert (adapter.parameter_count, adapter.size_bytes) == (2 * 2 * 128, 2 * 2 * 128 * 4)
    assert adapter.extra_tensors == ()
    assert (adapter.config.base_model, adapter.config.r, adapter.config.lora_alpha) == ("medley-tests/tiny-llama", 4, 8)
    check_finite(adapter)


def test_what_is_not_a_plain_pair_is_listed_apart(make_adapter: MakeAdapter) -> None:
    adapter = open_adapter(make_adapter("dora", target_modules=["q_proj"], use_dora=True, modules_to_save=["lm_head"]))
    assert adapter.config.use_dora
    assert adapter.config.modules_to_save == ("lm_head",)
    assert set(adapter.modules) == {f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)}
    assert sorted(adapter.extra_tensors) == [
        "base_model.model.lm_head.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.1.self_attn.q_proj.lora_magnitude_vector",
    ]


@pytest.mark.parametrize("kind", ["IA3", "PREFIX_TUNING", "PROMPT_TUNING", "ADAPTION_PROMPT", "P_TUNING"])
def test_other_kinds_that_peft_saves_are_read_but_have_no_modules(kind: str, tiny_base: Path, tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    settings: dict[str, dict[str, Any]] = {
        "IA3": {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
        "ADAPTION_PROMPT": {"adapter_layers": 2, "adapter_len": 4},
    }
    config = peft.get_peft_config(
        {"peft_type": kind, "task_type": "CAUSAL_LM", **settings.get(kind, {"num_virtual_tokens": 4})}
    )
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base), config)
    model.peft_config["default"].base_model_name_or_path = "medley-tests/tiny-llama"
    model.save_pretrained(tmp_path / kind)
    adapter = open_adapter(tmp_path / kind)
    assert (adapter.config.peft_type, adapter.modules) == (kind, {})
    assert len(adapter.extra_tensors) == len(adapter.tensors) > 0


def test_a_missing_pair_a_wrong_rank_and_a_foreign_name_are_named(tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    write_config(tmp_path, r=4)
    write_safetensors(tmp_path, {f"{name}.lora_A.weight": (4, 8), "layers.0.q.lora_A.weight": (4, 8)})
    with pytest.raises(ProblemsError) as caught:
        open_adapter(tmp_path)
    assert sorted(caught.value.problems) == [
        f"'{name}.lora_A.weight' has no 'lora_B.weight' beside it.",
        "the tensor name 'layers.0.q.lora_A.weight' does not start with 'base_model.model.', so peft would ignore it.",
    ]
    write_safetensors(tmp_path, {f"{name}.lora_A.weight": (3, 8), f"{name}.lora_B.weight": (8, 3)})
    with pytest.raises(AdapterFormatError, match=r"has A \(3, 8\) and B \(8, 3\), but the configuration says rank 4"):
        open_adapter(tmp_path)


def test_pickled_weights_are_refused_unopened(tmp_path: Path) -> None:
    write_config(tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(AdapterFormatError, match=r"adapter_model\.bin' is a pickle and is never opened"):
        open_adapter(tmp_path)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("pattern", ["inf", "-inf", "nan"])
def test_values_that_are_not_finite_are_found(tmp_path: Path, dtype: str, pattern: str) -> None:
    bits = {  # the little-endian bytes of each value
        "F32": {"inf": "0000807f", "-inf": "000080ff", "nan": "0100c07f"},
        "F16": {"inf": "007c", "-inf": "00fc", "nan": "017e"},
        "BF16": {"inf": "807f", "-inf": "80ff", "nan": "c17f"},
    }[dtype][pattern]
    folder = write_adapter(tmp_path / "bad", dtype=dtype)
    check_finite(open_adapter(folder))
    weights = folder / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: -len(bits) // 2] + bytes.fromhex(bits))
    with pytest.raises(AdapterFormatError, match=r"q_proj.lora_B.weight' holds NaN or Infinity\.$"):
        check_finite(open_adapter(folder))


def test_the_largest_finite_values_pass(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "good", dtype="BF16")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2] + bytes.fromhex("7f7f"))
    check_finite(open_adapter(folder))


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_can_be_a_hub_id() -> None:
    assert [hub_id(text) for text in ("gpt2", "org/name", "Qwen/Qwen2.5-0.5B")] == [
        "gpt2",
        "org/name",
        "Qwen/Qwen2.5-0.5B",
    ]
    for text in (
        "/etc",
        "./x",
        "../x",
        "a/b/c",
        "C:\\x",
        "\\\\host\\x",
        "file:///x",
        "http://169.254.169.254/x",
        "~/x",
    ):
        assert hub_id(text) is None
    for text in (
        "",
        None,
        "оrg/name",
        "org/na--me",
        "a" * 97,
        "org/name.git",
        "org/na me",
        "org/name\n",
        "org/..",
        ".",
    ):
        assert hub_id(text) is None


def test_reading_needs_no_torch(make_adapter: MakeAdapter) -> None:
    code = (
        "import sys, pathlib; from medley.lm.adapter_file import open_adapter, check_finite; "
        "check_finite(open_adapter(pathlib.Path(sys.argv[1]))); print('torch' in sys.modules, 'peft' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(make_adapter("plain"))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False False\n"


def test_read_config_of_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(AdapterFormatError, match=r"^'nowhere/adapter_config.json' is missing\.$"):
        read_config(tmp_path / "nowhere")

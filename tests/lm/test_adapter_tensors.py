"""What read_factors gives is what peft computes with, and what write_adapter writes is what peft loads, at scale 1."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.utils.other import get_pattern_key
from transformers import AutoModelForCausalLM

from medley.errors import AdapterFormatError, ParameterError
from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_tensors import iterate_scaled_factors, read_factors, read_scaled_factors, write_adapter
from medley.lm.adapter_writer import is_finite
from tests.tiny_model import TINY_BASE_ID

Q0 = "model.layers.0.self_attn.q_proj"


def random_factors(rank: int, rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator)


def peft_deltas(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """ΔW of every module as peft computes it."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    return {name.removeprefix("base_model.model."): each.get_delta_weight("default") for name, each in layers.items()}


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4},
        {"r": 4, "use_rslora": True, "lora_alpha": 12},
        {"r": 4, "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 7}, "alpha_pattern": {"v_proj": 3}},
    ],
    ids=["plain", "rslora", "patterns"],
)
def test_scaled_factors_multiply_to_pefts_delta(
    tiny_base: Path, make_adapter: Callable[..., Path], settings: dict
) -> None:
    folder = make_adapter("one", **settings)
    expected = peft_deltas(tiny_base, folder)
    adapter = open_adapter(folder)
    assert set(adapter.modules) == set(expected)
    for name, (b, a) in iterate_scaled_factors(adapter):
        torch.testing.assert_close(b @ a, expected[name])


def test_the_scale_is_in_b_and_only_there(make_adapter: Callable[..., Path]) -> None:
    adapter = open_adapter(make_adapter("one", r=4, lora_alpha=12))  # scale 12 / 4 = 3
    b, a = read_factors(adapter, Q0)
    scaled_b, same_a = read_scaled_factors(adapter, Q0)
    assert torch.equal(scaled_b, 3 * b)
    assert torch.equal(same_a, a)
    assert (b.dtype, b.shape, a.shape) == (torch.float32, (32, 4), (4, 32))


def test_a_written_adapter_is_loaded_by_peft_at_scale_one(tiny_base: Path, tmp_path: Path) -> None:
    factors = {
        Q0: random_factors(3, 32, 32),
        "model.layers.1.self_attn.q_proj": random_factors(5, 32, 32, 1),
        "model.layers.1.mlp.down_proj": random_factors(3, 32, 64, 2),
        "model.layers.0.mlp.up_proj": (torch.zeros(64, 0), torch.zeros(0, 32)),
    }
    write_adapter(tmp_path / "out", factors, base_model=TINY_BASE_ID)
    loaded = peft_deltas(tiny_base, tmp_path / "out")
    assert set(loaded) == set(factors)
    for name, (b, a) in factors.items():
        torch.testing.assert_close(loaded[name], b @ a)
    again = open_adapter(tmp_path / "out")
    assert {name: (module.rank, module.scale) for name, module in again.modules.items()} == {
        Q0: (3, 1.0),
        "model.layers.1.self_attn.q_proj": (5, 1.0),
        "model.layers.1.mlp.down_proj": (3, 1.0),
        "model.layers.0.mlp.up_proj": (1, 1.0),
    }


def test_the_config_names_the_base_and_its_revision(tmp_path: Path) -> None:
    write_adapter(tmp_path, {Q0: random_factors(2, 32, 32)}, base_model="org/base", revision="abc123")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/base", "abc123")
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (2, 2, False)
    assert config["rank_pattern"] == config["alpha_pattern"] == {}


def test_same_factors_give_the_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    factors = {f"model.layers.{i}.self_attn.q_proj": random_factors(i + 1, 8, 8, i) for i in range(12)}
    write_adapter(tmp_path / "a", factors, base_model="org/base", dtype=torch.bfloat16)
    write_adapter(tmp_path / "b", dict(reversed(factors.items())), base_model="org/base", dtype=torch.bfloat16)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    "ranks",
    [
        {"layers.1.q": 2, "layers.11.q": 3, "layers.111.q": 3, "layers.2.q": 3},
        {"layers.1.q": 2, "vision.layers.1.q": 3, "vision.layers.2.q": 3},  # one name ends like another
        {"block.fc.q": 2, "block.fc_q": 3, "other": 3},  # a dot in a pattern matches any letter
    ],
    ids=["prefix", "suffix", "dot"],
)
def test_peft_resolves_every_pattern_to_its_own_module(tmp_path: Path, ranks: dict[str, int]) -> None:
    write_adapter(tmp_path, {name: random_factors(r, 4, 4) for name, r in ranks.items()}, base_model="org/base")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    for option, default in (("rank_pattern", config["r"]), ("alpha_pattern", config["lora_alpha"])):
        patterns = config[option]
        resolved = {name: patterns.get(get_pattern_key(patterns, name), default) for name in ranks}
        assert resolved == ranks
    assert {name: module.scale for name, module in open_adapter(tmp_path).modules.items()} == dict.fromkeys(ranks, 1.0)


def test_factors_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"^An adapter needs at least one module, got none\.$"):
        write_adapter(tmp_path, {}, base_model="org/base")
    with pytest.raises(ParameterError, match=r"^The factors of q do not fit: B is \(4, 2\), A is \(3, 4\)\.$"):
        write_adapter(tmp_path, {"q": (torch.ones(4, 2), torch.ones(3, 4))}, base_model="org/base")
    too_big = {"q": (torch.full((4, 2), 1e5), torch.ones(2, 4))}
    with pytest.raises(ParameterError, match=r"^The factors of q are not finite in float16\. Choose a wider dtype, f"):
        write_adapter(tmp_path, too_big, base_model="org/base", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changes_after_it_was_opened_is_noticed(make_adapter: Callable[..., Path]) -> None:
    adapter = open_adapter(make_adapter("one", r=4))
    weights = adapter.folder / "adapter_model.safetensors"
    other = open_adapter(make_adapter("two", r=5))
    weights.write_bytes((other.folder / "adapter_model.safetensors").read_bytes())
    with pytest.raises(AdapterFormatError, match="changed while it was being read"):
        read_factors(adapter, Q0)
    weights.write_bytes(b"short")
    with pytest.raises(AdapterFormatError, match="cannot be read"):
        read_factors(adapter, Q0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_finite(dtype: torch.dtype) -> None:
    """Also where the sum of finite numbers is not, and where one infinite number could cancel another."""
    largest = torch.full((3, 2), torch.finfo(dtype).max, dtype=dtype)
    assert is_finite(largest)
    assert is_finite(largest[:0])
    for bad in ([math.nan, 0.0], [math.inf, -math.inf], [-math.inf, 1.0]):
        assert not is_finite(torch.tensor(bad, dtype=dtype))

"""A GGUF adapter read back by gguf's own reader: names, order of rows and scale as llama.cpp takes them."""

import json
from pathlib import Path

import numpy
import pytest

from medley.errors import ConflictError
from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_gguf import gguf_problems, write_gguf
from medley.lm.base_facts import BUNDLED_FACTS
from medley.lm.bundled import bundled_gguf
from tests.merging.lora_files import dense_deltas, random_factors, write_lora
from tests.tiny_model import write_tiny_adapter

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def config_of(base: Path) -> dict:
    return json.loads((base / "config.json").read_text())


def tensors_of(path: Path) -> dict[str, numpy.ndarray]:
    """Arrays with numpy's order of dimensions, the last one contiguous."""
    import gguf

    return {tensor.name: numpy.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


def test_the_factors_are_the_deltas_in_the_order_of_llama(tiny_base: Path, tmp_path: Path) -> None:
    """transformers' own reading of GGUF puts the rows back; what comes out must be the delta, whatever its scale."""
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    lora = {"alpha_pattern": {"k_proj": 7}, "rank_pattern": {"up_proj": 2}, "use_rslora": True, "lora_alpha": 5}
    folder = write_tiny_adapter(tiny_base, tmp_path / "adapter", **lora)
    config, deltas = config_of(tiny_base), dense_deltas(folder)
    write_gguf(open_adapter(folder), config, tmp_path / "a.gguf", name="a:v1", base_id="org/base")
    tensors, processor = tensors_of(tmp_path / "a.gguf"), LlamaTensorProcessor(config)
    assert len(tensors) == 2 * 2 * 7
    for layer in range(2):
        for part, name in NAMES.items():
            a, b = (tensors[f"blk.{layer}.{name}.weight.lora_{side}"] for side in "ab")
            scaled = 5 / a.shape[0] * b @ a  # as llama.cpp does: alpha / rank, its one alpha
            heads = {"attn_q": 4, "attn_k": 2}.get(name)
            ordered = processor._reverse_permute_weights(scaled, 4, heads) if heads else scaled
            delta = deltas[f"model.layers.{layer}.{part}"].numpy()
            numpy.testing.assert_allclose(ordered, delta, rtol=0, atol=1e-6)
            assert not heads or numpy.abs(scaled - delta).max() > 1e-2  # the order does matter


def test_what_the_file_says_of_itself(tiny_base: Path, tmp_path: Path) -> None:
    import gguf

    folder = write_tiny_adapter(tiny_base, tmp_path / "adapter", r=2)
    write_gguf(open_adapter(folder), config_of(tiny_base), tmp_path / "a.gguf", name="a:v1", base_id="org/base")
    fields = gguf.GGUFReader(tmp_path / "a.gguf").fields
    said = {name: field.contents() for name, field in fields.items() if not name.startswith("GGUF.")}
    assert said == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 4.0,
        "general.name": "a:v1",
        "general.base_model.count": 1,
        "general.base_model.0.name": "org/base",
        "general.file_type": 0,
    }
    with pytest.raises(ConflictError, match=r"a\.gguf' exists\. Choose another name; nothing is overwritten\.$"):
        write_gguf(open_adapter(folder), config_of(tiny_base), tmp_path / "a.gguf", name="a", base_id="org/base")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gguf", "adapter"]


@pytest.mark.skipif(bundled_gguf() is None, reason="the bundled base is not installed")
def test_every_tensor_has_its_place_in_the_bundled_models_own_file(tmp_path: Path) -> None:
    """SmolLM2 as its makers converted it: the names are there, and the shapes are those of B and A."""
    import gguf

    base = gguf.GGUFReader(bundled_gguf())
    shapes = {tensor.name: tuple(int(size) for size in tensor.shape) for tensor in base.tensors}  # [inputs, outputs]
    linears = BUNDLED_FACTS.linears
    modules = {
        f"model.layers.29.{part}": random_factors(linears[leaf].outputs, linears[leaf].inputs, 2, 1)
        for part in NAMES
        for leaf in [part.rpartition(".")[2]]
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    }
    folder = write_lora(tmp_path / "adapter", modules)
    write_gguf(open_adapter(folder), config, tmp_path / "a.gguf", name="a", base_id="org/base")
    tensors = tensors_of(tmp_path / "a.gguf")
    assert len(tensors) == 14
    for name, array in tensors.items():
        target, _, side = name.rpartition(".lora_")
        assert (2, shapes[target][0]) == array.shape if side == "a" else (shapes[target][1], 2) == array.shape
    assert base.fields["general.architecture"].contents() == "llama"


def test_what_llama_cpp_could_not_follow(tiny_base: Path, tmp_path: Path) -> None:
    config = config_of(tiny_base)
    plain = open_adapter(write_lora(tmp_path / "plain", {"lm_head": random_factors(384, 32, 2, 1)}))
    dora = open_adapter(write_tiny_adapter(tiny_base, tmp_path / "dora", use_dora=True))
    embedding = open_adapter(write_tiny_adapter(tiny_base, tmp_path / "emb", target_modules=["embed_tokens", "q_proj"]))
    assert gguf_problems("plain", plain, config) == [
        "'plain' changes lm_head, which llama.cpp does not have where it is tied to the embeddings."
    ]
    assert gguf_problems("plain", plain, {**config, "tie_word_embeddings": False}) == []
    assert gguf_problems("dora", dora, config) == [
        "'dora' uses DoRA, which llama.cpp does not know. Fold it: medley fold"
    ]
    assert gguf_problems("emb", embedding, config)[0].startswith("'emb' holds 3 tensors that are no factors of linear")
    query = "model.layers.0.self_attn.q_proj"
    other = open_adapter(write_lora(tmp_path / "other", {query: random_factors(36, 32, 2, 1)}))
    assert gguf_problems("other", other, config) == [
        f"'other' has {query} of 36 rows, which the base's 4 heads cannot share: it belongs to another base."
    ]
    assert gguf_problems("plain", plain, {"architectures": ["Qwen2ForCausalLM"]}) == [
        "GGUF adapters are written for LlamaForCausalLM only, and the base of 'plain' is Qwen2ForCausalLM."
    ]

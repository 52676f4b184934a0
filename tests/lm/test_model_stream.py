"""Models as streams: what is read of a folder, and that written files are those that safetensors reads."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hub.allow_list import TOKENIZER
from medley.errors import BaseModelError
from medley.lm.model_file import NewTensor, open_model
from medley.lm.model_stream import read_blocks, write_weights
from medley.lm.model_tensors import list_tensors
from tests.merging.base_files import write_base


def test_what_a_folder_holds(tmp_path: Path) -> None:
    model = open_model(write_base(tmp_path / "base", shards=2))
    assert {name: (each.dtype, each.shape) for name, each in model.tensors.items()} == {
        "model.embed_tokens.weight": ("BF16", (9, 5)),
        "model.norm.weight": ("F32", (5,)),
        "model.layers.0.self_attn.q_proj.weight": ("BF16", (6, 5)),
        "model.layers.1.mlp.down_proj.weight": ("BF16", (7, 4)),
    }
    assert (model.dtype, model.parameter_count, model.embedding) == ("bfloat16", 108, "model.embed_tokens.weight")
    assert model.side_files == ["config.json", "tokenizer.json", "chat_template.jinja"]
    assert (model.is_tied, model.is_quantized) == (False, False)
    tied = open_model(write_base(tmp_path / "silent", tie_word_embeddings=None))  # GPT-2 writes nothing of it
    assert tied.is_tied


def test_a_tensor_in_two_files_and_a_damaged_file(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", shards=2)
    save_file({"model.norm.weight": torch.ones(5)}, base / "more.safetensors")
    message = r"^'model.norm.weight' stands in model-0000.-of-00002.safetensors and in more.safetensors; a model has it"
    with pytest.raises(BaseModelError, match=message):
        open_model(base)
    (base / "more.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(BaseModelError, match=r"^more.safetensors is not a readable safetensors file: "):
        open_model(base)


def test_every_tokenizer_that_can_be_published_goes_along_with_a_model(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    for name in (*TOKENIZER, "NOTICE"):
        (base / name).write_text("{}")
    assert {*TOKENIZER, "NOTICE"} <= set(open_model(base).side_files)


def test_a_folder_with_its_weights_twice(tmp_path: Path) -> None:
    """Some repositories hold a copy under other names; what transformers loads is the model, and nothing else."""
    base = write_base(tmp_path / "base", shards=2)
    tensors = open_model(base).tensors
    index = {"weight_map": {name: each.path.name for name, each in tensors.items()}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"norm.weight": torch.ones(5)}, base / "consolidated.safetensors")
    assert open_model(base).tensors == tensors
    assert list(list_tensors(base)) == list(tensors)
    save_file({"model.norm.weight": torch.ones(5)}, base / "model.safetensors")
    assert list(open_model(base).tensors) == list(list_tensors(base)) == ["model.norm.weight"]


@pytest.mark.parametrize("has_kernel_copy", [True, False])
def test_copies_and_blocks_are_what_safetensors_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_kernel_copy: bool
) -> None:
    if not has_kernel_copy:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    base = write_base(tmp_path / "base")
    stored = open_model(base).tensors["model.embed_tokens.weight"]
    rows = torch.arange(12, dtype=torch.float16).view(4, 3)
    tensors = [NewTensor("copy", "BF16", (9, 5), 90), NewTensor("blocks", "F16", (4, 3), 24)]
    content = {"copy": stored, "blocks": iter([rows[:3], rows[3:]])}
    assert write_weights(tmp_path, tensors, content.__getitem__, shard_bytes=10**9) == ["model.safetensors"]
    read = load_file(tmp_path / "model.safetensors")
    assert torch.equal(read["copy"], load_file(stored.path)["model.embed_tokens.weight"])
    assert torch.equal(read["blocks"], rows)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert int.from_bytes((tmp_path / "model.safetensors").read_bytes()[:8], "little") % 8 == 0


def test_a_file_that_shrinks_is_noticed(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    tensors = open_model(base).tensors
    last = max(tensors.values(), key=lambda tensor: tensor.end)
    os.truncate(last.path, last.end - 1)
    with pytest.raises(BaseModelError, match=r"^model-00001-of-00001.safetensors changed while it was being read\.$"):
        list(read_blocks(last))
    new = NewTensor("copy", last.dtype, last.shape, last.size_bytes)
    with pytest.raises(BaseModelError, match=r"changed while it was being read\.$"):
        write_weights(tmp_path, [new], lambda name: last, shard_bytes=10**9)

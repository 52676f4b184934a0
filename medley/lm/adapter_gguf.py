"""A LoRA adapter as one GGUF file, for llama.cpp and what is built on it (Ollama, LM Studio).

llama.cpp adds alpha / rank · B · A to the base's tensor of the same name. Its Llama models hold the rows of the query
and key projections in another order than transformers (pairs of the rotary embedding side by side), so the rows of
those B are moved likewise. Other architectures have other rules; they are refused until theirs are held to a test.
"""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medley.errors import AdapterFormatError, ConflictError, IncompatibleError, StorageError
from medley.lm.adapter_file import AdapterFile

ARCHITECTURES = {"LlamaForCausalLM": "llama"}  # transformers' name -> llama.cpp's
HEAD, EMBEDDINGS = "lm_head", "embed_tokens"


def gguf_problems(name: str, adapter: AdapterFile, base_config: Mapping[str, Any]) -> list[str]:
    """Why the adapter cannot be written for llama.cpp, one sentence each; torch and gguf are not loaded.

    Args:
        name: what to call it.
        adapter: an opened LoRA adapter.
        base_config: the base's config.json.
    """
    problems = []
    architecture = (base_config.get("architectures") or ["unknown"])[0]
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        problems.append(f"GGUF adapters are written for {known} only, and the base of '{name}' is {architecture}.")
    if adapter.config.use_dora:
        problems.append(f"'{name}' uses DoRA, which llama.cpp does not know. Fold it: medley fold")
    elif adapter.extra_tensors:
        count, first = len(adapter.extra_tensors), adapter.extra_tensors[0]
        problems.append(
            f"'{name}' holds {count} tensors that are no factors of linear layers, for example {first}, and llama.cpp "
            "knows no others. Fold it: medley fold"
        )
    odd = [each for each in adapter.modules.values() if each.out_features % (2 * _heads(each.name, base_config) or 1)]
    if odd:
        problems.append(
            f"'{name}' has {odd[0].name} of {odd[0].out_features} rows, which the base's "
            f"{_heads(odd[0].name, base_config)} heads cannot share: it belongs to another base."
        )
    if HEAD in adapter.modules and base_config.get("tie_word_embeddings"):
        problems.append(f"'{name}' changes {HEAD}, which llama.cpp does not have where it is tied to the embeddings.")
    return problems


def write_gguf(adapter: AdapterFile, base_config: Mapping[str, Any], out: Path, *, name: str, base_id: str) -> None:
    """Write the adapter to the new file `out`, in float32: nothing of it is lost.

    Args:
        adapter: an opened adapter that `gguf_problems` has nothing against.
        base_config: the base's config.json.
        name, base_id: what the file says it is and belongs to; never a path.

    Raises:
        ConflictError: `out` exists.
        IncompatibleError: a module that llama.cpp has no name for.
        StorageError: it cannot be written.
    """
    if os.path.lexists(out):
        raise ConflictError(f"'{out}' exists. Choose another name; nothing is overwritten.")
    staging = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        _write(adapter, base_config, staging, name, base_id)
        os.link(staging, out)  # unlike a rename, it never takes the place of a file that appeared meanwhile
    except FileExistsError as error:
        raise ConflictError(f"'{out}' exists. Choose another name; nothing is overwritten.") from error
    except OSError as error:
        reason = error.strerror or "the disk took only a part of it; it may be full"  # numpy's short write has no errno
        raise StorageError(f"'{out}' cannot be written: {reason}.") from error
    finally:
        staging.unlink(missing_ok=True)


def _write(adapter: AdapterFile, base_config: Mapping[str, Any], path: Path, name: str, base_id: str) -> None:
    import gguf

    architecture = ARCHITECTURES[base_config["architectures"][0]]
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, base_config["num_hidden_layers"])
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, adapter.config.lora_alpha)
    writer.add_name(name)
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, base_id)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for module in adapter.modules:
        target = names.get_name(module)
        if target is None:
            raise IncompatibleError(f"llama.cpp has no tensor for {module}, which '{adapter.folder.name}' changes.")
        b, a = llama_factors(adapter, module, base_config)
        writer.add_tensor(f"{target}.weight.lora_a", a)
        writer.add_tensor(f"{target}.weight.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_factors(adapter: AdapterFile, module: str, base_config: Mapping[str, Any]) -> tuple[Any, Any]:
    """(B, A) of a module as float32 arrays, such that lora_alpha / rank · B · A is its delta in llama.cpp's order.

    One alpha holds for the whole file; where a module has another scale (patterns, rsLoRA), B takes up the difference.

    Raises:
        AdapterFormatError: they hold a value that is not finite.
    """
    import numpy

    from medley.lm.adapter_tensors import read_factors

    b, a = (factor.numpy() for factor in read_factors(adapter, module))
    known = adapter.modules[module]
    b = b * numpy.float32(known.scale / (adapter.config.lora_alpha / known.rank))
    if not (numpy.isfinite(b).all() and numpy.isfinite(a).all()):
        raise AdapterFormatError(f"'{adapter.folder.name}' holds NaN or Infinity in {module}.")
    heads = _heads(module, base_config)
    return (_rotary_order(b, heads) if heads else b), a


def _heads(module: str, base_config: Mapping[str, Any]) -> int:
    """How many heads share the rows of a query or key projection; 0 for all other modules."""
    heads = base_config.get("num_attention_heads") or 0
    if module.endswith("k_proj"):
        return base_config.get("num_key_value_heads") or heads
    return heads if module.endswith("q_proj") else 0


def _rotary_order(rows: Any, heads: int) -> Any:
    """The rows of each head (first halves, then second halves of the rotary pairs) with the pairs side by side."""
    in_pairs = rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1]).swapaxes(1, 2)
    return in_pairs.reshape(rows.shape)

"""How large a base model is, layer by layer: read from config.json and the headers of its weights. No torch.

Memory and time of a training are worked out from these numbers before anything is loaded (`trainers.estimate`).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medley.errors import BaseModelError
from medley.lm.base_folder import weight_files

MAX_HEADER_BYTES = 100 * 1024 * 1024
EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_in", "lm_head", "embed_out")
FEED_FORWARD = ("mlp", "feed_forward", "ffn", "fc")  # in the path of a layer that belongs to the feed-forward part


@dataclass(frozen=True)
class LinearSizes:
    """The linear layers of one name, over all blocks: how many there are, the sizes of one, and where they stand."""

    count: int
    inputs: int
    outputs: int
    is_feed_forward: bool = False

    @property
    def parameters(self) -> int:
        return self.count * self.inputs * self.outputs


@dataclass(frozen=True)
class BaseFacts:
    """A base model's sizes.

    Attributes:
        layers: transformer blocks.
        hidden: width of the residual stream.
        intermediate: width of the feed-forward layer.
        heads, kv_heads, head_dim: of the attention.
        vocab: tokens of the output layer.
        parameters: all weights; tied embeddings count once.
        linears: name of a linear layer in the blocks ("q_proj") -> its sizes; the output layer is not among them.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    parameters: int
    linears: Mapping[str, LinearSizes]

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers in the blocks: those that 4-bit packs and that a token is multiplied with."""
        return sum(sizes.parameters for sizes in self.linears.values())


def read_base_facts(folder: Path) -> BaseFacts:
    """The sizes of the base model in `folder`.

    Raises:
        BaseModelError: a size is not in its config.json, or a weights file is not readable.
    """
    config = _text_config(folder)
    hidden = _size(config, "hidden_size", "n_embd", "d_model")
    heads = _size(config, "num_attention_heads", "n_head", "n_heads")
    shapes = _shapes(folder)
    return BaseFacts(
        layers=_size(config, "num_hidden_layers", "n_layer", "n_layers"),
        hidden=hidden,
        intermediate=config.get("intermediate_size") or config.get("n_inner") or 4 * hidden,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        vocab=_size(config, "vocab_size"),
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        linears=_linears(shapes),
    )


def _text_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{folder / 'config.json'} cannot be read.") from error
    return config.get("text_config") or config  # a model that also sees keeps its language part there


def _size(config: Mapping[str, Any], *names: str) -> int:
    found = next((config[name] for name in names if isinstance(config.get(name), int)), None)
    if found is None:
        raise BaseModelError(f"The base's config.json has no {names[0]}, so its size in memory is not known.")
    return found


def _linears(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, LinearSizes]:
    found: dict[str, LinearSizes] = {}
    for name, shape in shapes.items():
        parts = name.removesuffix(".weight").split(".")
        if len(shape) == 2 and name.endswith(".weight") and not set(parts) & set(EMBEDDINGS):
            before = found.get(parts[-1])
            is_feed_forward = any(word in part for part in parts for word in FEED_FORWARD)
            found[parts[-1]] = LinearSizes(before.count + 1 if before else 1, shape[1], shape[0], is_feed_forward)
    return found


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape, over all weight files."""
    shapes = {}
    for path in weight_files(folder):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER_BYTES:
                raise BaseModelError(f"{path.name} is not a safetensors file.")
            try:
                header = json.loads(file.read(length))
            except ValueError as error:
                raise BaseModelError(f"{path.name} is not a safetensors file.") from error
        header.pop("__metadata__", None)
        shapes |= {name: tuple(entry["shape"]) for name, entry in header.items()}
    return shapes


BUNDLED_FACTS = BaseFacts(  # SmolLM2-135M-Instruct, for estimates before it is unpacked
    layers=30,
    hidden=576,
    intermediate=1536,
    heads=9,
    kv_heads=3,
    head_dim=64,
    vocab=49152,
    parameters=134_515_008,
    linears={
        "q_proj": LinearSizes(30, 576, 576),
        "k_proj": LinearSizes(30, 576, 192),
        "v_proj": LinearSizes(30, 576, 192),
        "o_proj": LinearSizes(30, 576, 576),
        "gate_proj": LinearSizes(30, 576, 1536, is_feed_forward=True),
        "up_proj": LinearSizes(30, 576, 1536, is_feed_forward=True),
        "down_proj": LinearSizes(30, 1536, 576, is_feed_forward=True),
    },
)

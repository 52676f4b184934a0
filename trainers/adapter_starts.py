"""Where an adapter begins, where peft's own beginning will not do: from the base's weights, from text, from the rows.

Nothing here changes the base. peft's PiSSA and OLoRA take B₀A₀ out of the base's weights, so that the saved adapter
fits no other copy of them. Here the rank is doubled instead, to ΔW = s·(BA − B₀A₀) with the second half held fast:
the same function and the same gradients, on the base as it is, also in 4-bit, and what is saved is plain LoRA.
(PiSSA's smaller quantisation error, which comes from quantising W − B₀A₀, is given up for that.)

Legend: W is (out, in), A (2r, in), B (out, 2r), s the scale of the delta.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel, initialize_lora_eva_weights
from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight

from medley.errors import ParameterError

Factors = tuple[torch.Tensor, torch.Tensor]
NAME = "default"
MAX_EVA_PASSES = 200  # forward passes; on real rows the components settle within some ten


def pissa(weight: torch.Tensor, rank: int, scale: float) -> Factors:
    """(B₀, A₀) with s·B₀A₀ the best approximation of W of this rank (PiSSA, 2404.02948, equations 2 and 3).

    Args:
        weight: (out, in), float32.
        rank: at most min(out, in).
        scale: what the product will be multiplied with.
    """
    u, values, v_t = torch.linalg.svd(weight, full_matrices=False)
    roots = (values[:rank] / scale).sqrt()
    return u[:, :rank] * roots, roots[:, None] * v_t[:rank]


def olora(weight: torch.Tensor, rank: int, scale: float) -> Factors:
    """(B₀, A₀): the first columns of Q and rows of R in W = QR (OLoRA, 2406.01775, algorithm 1); arguments as above."""
    q, r = torch.linalg.qr(weight)
    return q[:, :rank], r[:rank]


STARTS = {"pissa": pissa, "olora": olora}


@torch.no_grad()
def start_from_weights(model: PeftModel, init: str) -> None:
    """Set every LoRA layer to ΔW = s·(BA − B₀A₀) with B = B₀ and A = A₀, and hold the second half fast.

    Raises:
        ParameterError: a layer is smaller than the rank.
    """
    for name, layer in model.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        base = layer.get_base_layer()
        weight = dequantize_module_weight(base).detach().to(torch.float32)
        weight = weight.T if layer.fan_in_fan_out else weight
        rank = layer.r[NAME] // 2
        if rank > min(weight.shape):
            raise ParameterError(
                f"init {init} needs a rank of at most {min(weight.shape)}, the smaller side of {name}, got {rank}."
            )
        b, a = STARTS[init](weight, rank, layer.scaling[NAME])
        a_parameter, b_parameter = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
        a_parameter.copy_(torch.cat([a, a]))
        b_parameter.copy_(torch.cat([b, -b], dim=1))
        _hold(a_parameter, rank, dim=0)
        _hold(b_parameter, rank, dim=1)


def _hold(parameter: torch.nn.Parameter, start: int, dim: int) -> None:
    """No gradient from `start` on along `dim`; AdamW without decay then leaves that part as it is."""
    mask = torch.ones_like(parameter)
    mask.narrow(dim, start, parameter.shape[dim] - start).zero_()
    parameter.register_hook(lambda gradient: gradient * mask.to(gradient))
    parameter.held_count = int((mask == 0).sum())


def count_trainable(model: torch.nn.Module) -> int:
    """How many numbers the optimizer moves, those that are held fast not among them."""
    return sum(each.numel() - getattr(each, "held_count", 0) for each in model.parameters() if each.requires_grad)


@torch.no_grad()
def start_from_tokens(model: PeftModel, tokenizer: Any, text: str | None) -> None:
    """Set a soft prompt to the embeddings of tokens, or a prefix to the keys and values that they leave in the cache.

    The untrained adapter then does what those tokens would do in front of the prompt.

    Args:
        tokenizer: for `text`; not needed without one.
        text: repeated or cut to the number of virtual tokens; random words of the vocabulary when None or empty.
    """
    count = model.peft_config[NAME].num_virtual_tokens
    base = model.get_base_model()
    embeddings = base.get_input_embeddings()
    if text:
        words = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not words:
            raise ParameterError(f"prompt_text {text!r} has no tokens.")
        ids = torch.tensor((words * (count // len(words) + 1))[:count])
    else:
        ids = torch.randint(0, embeddings.num_embeddings, (count,))
    ids = ids.to(embeddings.weight.device)
    if model.peft_config[NAME].peft_type == "PREFIX_TUNING":
        cache = base(input_ids=ids[None], use_cache=True).past_key_values
        initialize_kv_prefix_from_past_key_values(model, past_key_values=cache)
    else:
        weight = model.prompt_encoder[NAME].embedding.weight
        weight.copy_(embeddings(ids).to(weight.dtype))


def start_from_rows(model: PeftModel, batches: Sequence[dict[str, torch.Tensor]]) -> None:
    """EVA (2410.07170): A from the principal directions of each layer's inputs, ranks by the variance they explain.

    Args:
        batches: padded `input_ids`, `attention_mask` and `labels`; only trained tokens count.

    Raises:
        ParameterError: no rows, too few tokens for the rank, or directions that do not settle.
    """
    if not batches:
        raise ParameterError("init eva starts from the rows that sft learns from. Take another init here.")
    rank = model.peft_config[NAME].r
    needed = int(rank * model.peft_config[NAME].eva_config.rho)
    fewest = min((int((batch["labels"] != -100).sum()) for batch in batches), default=0)
    if fewest < needed:
        raise ParameterError(
            f"init eva at rank {rank} needs {needed} trained tokens in every batch, but one has {fewest}. "
            "Lower the rank, or raise batch_size."
        )
    passes = 0

    def forward(inner: Any, inputs: dict[str, torch.Tensor]) -> Any:
        nonlocal passes
        passes += 1
        if passes > MAX_EVA_PASSES:
            raise ParameterError(
                f"init eva found no stable directions in {MAX_EVA_PASSES} batches. Take another init, or a lower rank."
            )
        return inner(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])

    initialize_lora_eva_weights(model, list(batches), forward_fn=forward, show_progress_bar=False)
    for parameter in model.parameters():
        if parameter.requires_grad:  # a layer of another rank was made anew, in the base's own type
            parameter.data = parameter.data.to(torch.float32)

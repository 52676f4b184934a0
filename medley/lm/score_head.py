"""The head of a reward model: one number at the last token of a text, in float32 whatever the base runs in.

Where the number is read: transformers takes the rightmost token that is not the padding token. Some bases pad with
the token that ends an answer (SmolLM2 does), which would hide exactly that token; another one is taken then.
"""

from typing import Any

import torch
from torch import nn

from medley.errors import BaseModelError
from medley.lm.prompts import end_token_ids

HEAD = "score"  # what transformers calls the head of its decoders for classification
HEAD_WEIGHT = f"{HEAD}.weight"


class ScoreHead(nn.Linear):
    """Hidden states (…, H) in any dtype -> (…, 1) float32: in bf16 two good answers would often score the same."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.to(self.weight.dtype))


def prepare_scoring(base: Any) -> None:
    """Give a loaded classifier of one output its head, all zero, and a padding token that ends no answer.

    Args:
        base: a `LoadedBase`; its model and tokenizer are changed.
    """
    model, tokenizer = base.model, base.tokenizer
    head = ScoreHead(getattr(model, HEAD).in_features, 1, bias=False, device=model.device, dtype=torch.float32)
    nn.init.zeros_(head.weight)
    setattr(model, HEAD, head.requires_grad_(False))
    tokenizer.pad_token = padding_token(tokenizer)
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def draw_head(head: ScoreHead, *, seed: int, spread: float) -> None:
    """Fill the head with normal numbers of standard deviation `spread` that depend on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * spread)


def padding_token(tokenizer: Any) -> str:
    """The padding token if no answer ends with it, else the special token of the lowest id of which that is true.

    Raises:
        BaseModelError: the tokenizer has no such token.
    """
    ends = end_token_ids(tokenizer)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in ends:
        return str(tokenizer.pad_token)
    special = [id_ for id_, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    free = [id_ for id_ in special if id_ not in ends]
    if not free:
        raise BaseModelError(
            "The base's tokenizer has no special token but the one that ends an answer, so answers of different "
            "length cannot be padded to be scored. Take another base."
        )
    return str(tokenizer.convert_ids_to_tokens(free[0]))

"""What an adapter makes a base forget: how much harder general text has become to predict with the adapter on.

peft's method comparison defines it as the mean cross-entropy per token after training less that before. Here every
text is measured with the adapter on and off, so that the difference is paired and has a standard error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from medley.errors import DatasetError
from trainers.general_texts import MIN_TEXTS

MAX_TOKENS = 768  # of one text, as in peft's comparison


@dataclass(frozen=True)
class Forgetting:
    """Cross-entropy on general text, in nats per token.

    Attributes:
        before, after: with the adapter off and on.
        change: after less before; above 0 something was forgotten.
        error: standard error of the change, over texts.
        texts, tokens: how much was measured; the first token of each text is only read.
    """

    before: float
    after: float
    change: float
    error: float
    texts: int
    tokens: int


def forgetting_of(before: Sequence[float], after: Sequence[float], tokens: Sequence[int]) -> Forgetting:
    """The change and its standard error from the mean cross-entropies of each text.

    The change is the mean over all tokens, d = Σ nᵢdᵢ / Σ nᵢ with dᵢ the change in text i. Texts, not tokens, are
    independent draws, so its error is that of a ratio: √(k/(k−1) · Σ wᵢ²(dᵢ − d)²), wᵢ = nᵢ / Σ nᵢ for k texts
    (Cochran, Sampling Techniques, equation 6.13 without the finite-population factor).

    Args:
        before, after: one mean per text, at least two texts.
        tokens: how many predicted tokens each text has.
    """
    total = sum(tokens)
    weights = [count / total for count in tokens]
    changes = [on - off for off, on in zip(before, after, strict=True)]
    change = sum(weight * each for weight, each in zip(weights, changes, strict=True))
    spread = sum((weight * (each - change)) ** 2 for weight, each in zip(weights, changes, strict=True))
    count = len(changes)
    base = sum(weight * each for weight, each in zip(weights, before, strict=True))
    error = math.sqrt(count / (count - 1) * spread)
    return Forgetting(base, base + change, change, error, count, total)


def measure_forgetting(model: Any, tokenizer: Any, texts: Sequence[str]) -> Forgetting:
    """The change of the cross-entropy on these texts that the active adapter causes.

    Args:
        model: a `PeftModel`; it is left as it was.
        texts: of at least two tokens each; what exceeds 768 tokens is left out.

    Raises:
        DatasetError: fewer than two texts can be measured.
    """
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"][:MAX_TOKENS] for text in texts]
    rows = [row for row in rows if len(row) > 1]
    if len(rows) < MIN_TEXTS:
        raise DatasetError(f"Forgetting needs at least {MIN_TEXTS} general texts, got {len(rows)}.")
    was_training = model.training
    model.eval()
    after = [cross_entropy(model, row) for row in rows]
    with model.disable_adapter():
        before = [cross_entropy(model, row) for row in rows]
    model.train(was_training)
    return forgetting_of(before, after, [len(row) - 1 for row in rows])


@torch.no_grad()
def cross_entropy(model: Any, ids: Sequence[int]) -> float:
    """Mean -log p of each token but the first, in nats; what an adapter puts in front of the text is not counted."""
    row_1T = torch.tensor([list(ids)], device=model.device)
    logits_TV = model(input_ids=row_1T).logits[0, -len(ids) :].float()
    return float(F.cross_entropy(logits_TV[:-1], row_1T[0, 1:]))

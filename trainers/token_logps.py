"""Log-probabilities of chosen tokens, and the entropy beside them, without a float32 copy of all logits.

A vocabulary of 49,000 words makes the logits the largest tensor of a step. Here they stay in their own number type;
float32 exists for a few tokens at a time, forwards and backwards.

Legend: T tokens, V words in the vocabulary, K tokens of one chunk.
"""

from typing import Any

import torch

CHUNK_TOKENS = 64


class _ChosenLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_TV: torch.Tensor, chosen_T: torch.Tensor, temperature: float, has_entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logps, totals, entropies = [], [], []
        for logits_KV, chosen_K in _chunks(logits_TV, chosen_T):
            scores_KV = logits_KV.float() / temperature
            total_K = scores_KV.logsumexp(dim=-1)
            logps.append(scores_KV.gather(1, chosen_K[:, None])[:, 0] - total_K)
            totals.append(total_K)
            if has_entropy:
                entropies.append(total_K - (torch.exp(scores_KV - total_K[:, None]) * scores_KV).sum(dim=-1))
        logps_T, totals_T = torch.cat(logps), torch.cat(totals)
        entropy_T = torch.cat(entropies) if has_entropy else torch.zeros_like(logps_T)
        ctx.save_for_backward(logits_TV, chosen_T, totals_T, entropy_T)
        ctx.temperature, ctx.has_entropy = temperature, has_entropy
        return logps_T, entropy_T

    @staticmethod
    def backward(ctx: Any, logps_grad_T: torch.Tensor, entropy_grad_T: torch.Tensor) -> tuple[Any, ...]:
        logits_TV, chosen_T, totals_T, entropy_T = ctx.saved_tensors
        gradient_TV = torch.empty_like(logits_TV)
        pieces = _chunks(logits_TV, chosen_T, totals_T, entropy_T, logps_grad_T, entropy_grad_T, gradient_TV)
        for logits_KV, chosen_K, total_K, entropy_K, logps_grad_K, entropy_grad_K, gradient_KV in pieces:
            logs_KV = logits_KV.float() / ctx.temperature - total_K[:, None]  # log p of every word
            odds_KV = logs_KV.exp()
            slope_KV = odds_KV * -logps_grad_K[:, None]  # d log p(chosen) / d score_v = [v chosen] - p_v
            slope_KV.scatter_add_(1, chosen_K[:, None], logps_grad_K[:, None])
            if ctx.has_entropy:  # d H / d score_v = -p_v (log p_v + H)
                slope_KV -= entropy_grad_K[:, None] * odds_KV * (logs_KV + entropy_K[:, None])
            gradient_KV.copy_(slope_KV / ctx.temperature)
        return gradient_TV, None, None, None


def chosen_logps(
    logits_TV: torch.Tensor, chosen_T: torch.Tensor, *, temperature: float, has_entropy: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """(logps_T, entropy_T) in float32 of the distribution softmax(logits / temperature), with gradients.

    Args:
        logits_TV: in any number type.
        chosen_T: the token at each place.
        temperature: above 0; the same as when the tokens were drawn.
        has_entropy: False leaves the entropy at 0 and saves its work.
    """
    return _ChosenLogps.apply(logits_TV, chosen_T, temperature, has_entropy)


def _chunks(*tensors: torch.Tensor) -> Any:
    return zip(*(tensor.split(CHUNK_TOKENS) for tensor in tensors), strict=True)

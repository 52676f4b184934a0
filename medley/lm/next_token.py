"""The choice of the next token for all rows of a batch at once, by the options of `sampling.py`.

Each row draws from its own generator, so that its answer depends neither on its neighbours nor on its place.

Legend: N rows, V words in the vocabulary, K words that are still possible, the likeliest first.
"""

from collections.abc import Sequence

import torch

from medley.lm.sampling import Sampling


class Sampler:
    """Chooses the next token of each row, as long as the rows live.

    All rows start from the same seed: panes that differ in their blend only get the same luck.

    Args:
        sampling: the options.
        seen_NV: True at the tokens of each row's prompt.
    """

    def __init__(self, sampling: Sampling, seen_NV: torch.Tensor) -> None:
        self._sampling = sampling
        self._seen_NV = seen_NV if sampling.repetition_penalty != 1 else None
        self._generators = [torch.Generator().manual_seed(sampling.seed) for _ in range(seen_NV.shape[0])]

    def next_tokens(self, logits_NV: torch.Tensor) -> torch.Tensor:
        """The next token of each row, (N,)."""
        scores_NV = logits_NV.to(torch.float32)
        if self._seen_NV is not None:
            scores_NV = penalise(scores_NV, self._seen_NV, self._sampling.repetition_penalty)
        if self._sampling.temperature == 0:
            tokens_N = scores_NV.argmax(dim=-1)
        else:
            luck_N = torch.cat([torch.rand(1, generator=each, dtype=torch.float64) for each in self._generators])
            tokens_N = draw(scores_NV, luck_N, self._sampling)
        if self._seen_NV is not None:
            self._seen_NV.scatter_(1, tokens_N[:, None], True)
        return tokens_N

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        self._generators = [self._generators[row] for row in rows]
        if self._seen_NV is not None:
            self._seen_NV = self._seen_NV[list(rows)]


def penalise(scores_NV: torch.Tensor, seen_NV: torch.Tensor, penalty: float) -> torch.Tensor:
    """Scores of seen tokens divided by the penalty, or multiplied where negative (CTRL, 1909.05858, section 4.1).

    As in transformers; the paper itself only divides, which would make a negative score likelier.
    """
    penalised_NV = torch.where(scores_NV < 0, scores_NV * penalty, scores_NV / penalty)
    return torch.where(seen_NV, penalised_NV, scores_NV)


def draw(scores_NV: torch.Tensor, luck_N: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """A token for each row by inverting the distribution at `luck`: temperature, then top_k, then top_p.

    Args:
        scores_NV: float32 scores.
        luck_N: uniform in [0, 1), float64, on the CPU.
        sampling: its temperature is above 0.
    """
    scores_NV = scores_NV / sampling.temperature
    if 0 < sampling.top_k < scores_NV.shape[-1]:
        scores_NK, words_NK = scores_NV.topk(sampling.top_k, dim=-1)
    elif sampling.top_p < 1:
        scores_NK, words_NK = scores_NV.sort(dim=-1, descending=True, stable=True)
    else:  # every word stays possible, so their order does not matter
        scores_NK, words_NK = scores_NV, None
    mass_NK = scores_NK.to(torch.float64 if scores_NK.device.type != "mps" else torch.float32).softmax(dim=-1)
    if sampling.top_p < 1:
        before_NK = mass_NK.cumsum(dim=-1) - mass_NK
        mass_NK = torch.where(before_NK < sampling.top_p, mass_NK, 0.0)
    cumulative_NK = mass_NK.cumsum(dim=-1)
    target_N1 = luck_N[:, None].to(cumulative_NK) * cumulative_NK[:, -1:]
    place_N1 = torch.searchsorted(cumulative_NK, target_N1, right=True)
    # rounding may push the target to the very end, where the last words have no mass
    last_N1 = (mass_NK > 0).cumsum(dim=-1).argmax(dim=-1, keepdim=True)
    place_N1 = torch.minimum(place_N1, last_N1)
    return (place_N1 if words_NK is None else words_NK.gather(1, place_N1))[:, 0]

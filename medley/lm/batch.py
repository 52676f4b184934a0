"""Several conversations as the rows of one batch: padded on the left, one cache, one forward pass for each new token.

Legend: N rows, T tokens, V words in the vocabulary.
"""

import inspect
from collections.abc import Sequence

import torch
from torch import nn


class Batch:
    """The running state of N rows.

    Args:
        model: the base, with or without blends attached.
        prompts: token ids of each row, none empty.
        pad_id: any token; padding is masked.
    """

    def __init__(self, model: nn.Module, prompts: Sequence[Sequence[int]], pad_id: int) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        longest = int(lengths.max())
        self._ids = torch.tensor([[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        self._mask = torch.arange(longest) >= (longest - lengths)[:, None]  # True at real tokens
        self._cache = None
        self._accepted = set(inspect.signature(model.forward).parameters)

    @property
    def rows(self) -> int:
        return self._mask.shape[0]

    def seen_tokens(self, vocabulary: int) -> torch.Tensor:
        """(N, V), True at every token of a row's prompt."""
        seen = torch.zeros(self.rows, vocabulary, dtype=torch.bool)
        for row in range(self.rows):
            seen[row, self._ids[row, self._mask[row]]] = True
        return seen.to(self._device)

    @torch.inference_mode()
    def read_prompts(self) -> torch.Tensor:
        """Logits of the first new token of each row, (N, V)."""
        positions = (self._mask.long().cumsum(dim=1) - 1).clamp(min=0)
        return self._forward(self._ids, positions)

    @torch.inference_mode()
    def step(self, tokens_N: torch.Tensor) -> torch.Tensor:
        """Append one token to each row: logits of the next, (N, V)."""
        positions = self._mask.sum(dim=1, keepdim=True)
        self._mask = torch.cat([self._mask, torch.ones(self.rows, 1, dtype=torch.bool)], dim=1)
        return self._forward(tokens_N[:, None], positions)

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        self._mask = self._mask[list(rows)]
        self._cache.batch_select_indices(torch.tensor(rows, device=self._device))

    def _forward(self, ids_NT: torch.Tensor, positions_NT: torch.Tensor) -> torch.Tensor:
        # without padding the causal mask is all there is; building one from a mask of ones only takes time
        mask = None if bool(self._mask.all()) else self._mask.long().to(self._device)
        inputs = {
            "input_ids": ids_NT.to(self._device),
            "attention_mask": mask,
            "position_ids": positions_NT.to(self._device),
            "past_key_values": self._cache,
            "use_cache": True,
            # an index keeps the last position contiguous; a count would leave a view, for which torch copies the
            # whole output matrix once per row
            "logits_to_keep": torch.tensor([ids_NT.shape[1] - 1], device=self._device),
        }
        output = self._model(**{name: value for name, value in inputs.items() if name in self._accepted})
        self._cache = output.past_key_values
        return output.logits[:, -1]

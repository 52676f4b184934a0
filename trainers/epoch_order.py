"""The order in which rows are trained on: a function of seed and epoch alone.

transformers draws it from the global generator, so that a run resumed from a checkpoint would see other batches.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler


class EpochOrder(torch.utils.data.Sampler[int]):
    """A fresh order of the rows each epoch, shuffled, or grouped so that a batch holds rows of similar length.

    Args:
        lengths: tokens in each row.
        seed: the order of epoch e is drawn from (seed, e) and nothing else.
        grouped_by: rows in one optimizer step, or None for a plain shuffle.
    """

    def __init__(self, lengths: Sequence[int], *, seed: int, grouped_by: int | None) -> None:
        self.lengths, self.seed, self.grouped_by, self.epoch = list(lengths), seed, grouped_by, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order())

    def order(self) -> list[int]:
        """Every row once, in the order of this epoch."""
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        if self.grouped_by is None:
            return torch.randperm(len(self.lengths), generator=generator).tolist()
        return list(LengthGroupedSampler(self.grouped_by, lengths=self.lengths, generator=generator))


class SeededOrder:
    """Stands before a TRL trainer among its parents: rows then come in the order of `EpochOrder`."""

    args: Any
    train_dataset: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        batch_rows = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        grouped_by = batch_rows if self.args.train_sampling_strategy == "group_by_length" else None
        lengths = row_lengths(train_dataset if train_dataset is not None else self.train_dataset)
        return EpochOrder(lengths, seed=self.args.seed, grouped_by=grouped_by)

    def _get_eval_sampler(self, eval_dataset: Any) -> list[int]:
        """The longest rows first: little padding, and a batch that does not fit into memory is met at once."""
        lengths = row_lengths(eval_dataset)
        return sorted(range(len(lengths)), key=lambda index: -lengths[index])


def row_lengths(rows: Any) -> list[int]:
    """Tokens in each row of a tokenised dataset, over all its columns of token ids (prompt, answer, both answers)."""
    columns = [rows[name] for name in rows.column_names if name.endswith("_ids")]
    return [sum(map(len, parts)) for parts in zip(*columns, strict=True)]

"""Supervised fine-tuning: TRL's SFTTrainer behind our options, on exactly the tokens that the preview shows.

`medley.corpus.tokens.encode_all` makes tokens and loss mask; TRL gets them ready-made and adds only the training loop.
"""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from medley.corpus import read_rows
from medley.corpus.tokens import Encoded, encode_all
from medley.lm.load import LoadedBase, load_base
from trainers.adapter import attach_adapter
from trainers.adapter_kinds import with_rate
from trainers.cardless import Cardless
from trainers.epoch_order import SeededOrder
from trainers.eval_rows import rows_to_measure
from trainers.reporting import Reporter, Sampler
from trainers.sft_options import SFTOptions
from trainers.trl_run import kept_precise, result_of, run, shared_arguments
from trainers.warm_up import SharedWarmUp
from trainers.work import TrainResult, TrainWork

ROW_BATCHES_SEEN = 16  # by a start that looks at the training rows
IGNORED = -100  # the label of a token that the loss passes over, everywhere in PyTorch


def train(options: SFTOptions, work: TrainWork) -> TrainResult:
    """Train an adapter on a dataset's train split and measure it on the eval split.

    Same options, same machine, same adapter bytes on a CPU; a run that was stopped or killed and resumed from its
    checkpoint gives the same bytes as one that was not.

    Raises:
        DatasetError: no row has anything to learn from.
        BaseModelError: the base cannot be loaded.
        ParameterError: the targets match no module.
    """
    options = with_rate(options, work.init_adapter)
    work.emit("progress", step=0, total=0, text="Loading the base model")
    base = load_base(work.base_dir, quant=options.quant, device=options.device)
    eval_rows = rows_to_measure(read_rows(work.data_dir, "eval"), base, options, work)
    train_set = _dataset(read_rows(work.data_dir, "train"), base, options, work, split="train")
    eval_set = _dataset(eval_rows, base, options, work, split="eval") if eval_rows else None
    set_seed(options.seed)  # an adapter's first values are drawn from the global generator
    model = attach_adapter(
        base.model,
        options,
        work.init_adapter,
        tokenizer=base.tokenizer,
        batches=_first_batches(train_set, base, options) if options.init == "eva" else (),
    )
    reporter = Reporter(work)
    with kept_precise(model):
        trainer = SeededSFTTrainer(
            model=model,
            args=SFTConfig(
                **shared_arguments(options, work, base, has_eval=eval_set is not None),
                max_length=None,  # the rows are already cut
            ),
            train_dataset=train_set,
            eval_dataset=eval_set,
            processing_class=base.tokenizer,
            callbacks=[reporter, *_samplers(options, work, base, eval_rows)],
        )
    return result_of(trainer, reporter, run(trainer, reporter, work), base, work)


class SeededSFTTrainer(Cardless, SharedWarmUp, SeededOrder, SFTTrainer):
    """TRL's SFTTrainer with our order of rows."""


def _dataset(
    rows: Sequence[dict[str, Any]], base: LoadedBase, options: SFTOptions, work: TrainWork, *, split: str
) -> Dataset:
    encoded, report = encode_all(rows, base.tokenizer, max_length=options.max_length)
    for warning in report.warnings():
        work.emit("warning", text=f"{split} split: {warning}")
    return Dataset.from_dict(
        {"input_ids": [row.input_ids for row in encoded], "labels": [labels_of(row) for row in encoded]}
    )


def _first_batches(train_set: Dataset, base: LoadedBase, options: SFTOptions) -> list[dict[str, torch.Tensor]]:
    """The first rows, padded, for a start that looks at them; a last batch that is not full is left out."""
    rows = train_set[: options.batch_size * ROW_BATCHES_SEEN]
    pad_id = base.tokenizer.pad_token_id or 0
    batches = []
    for start in range(0, len(rows["input_ids"]), options.batch_size):
        ids, labels = (rows[name][start : start + options.batch_size] for name in ("input_ids", "labels"))
        if start and len(ids) < options.batch_size:
            continue
        tensors = [[torch.tensor(row) for row in part] for part in (ids, [[1] * len(row) for row in ids], labels)]
        padded = [
            pad_sequence(part, batch_first=True, padding_value=value)
            for part, value in zip(tensors, (pad_id, 0, IGNORED), strict=True)
        ]
        batches.append(dict(zip(("input_ids", "attention_mask", "labels"), padded, strict=True)))
    return batches


def labels_of(row: Encoded) -> list[int]:
    """The token where it is trained, `IGNORED` where it is only read."""
    return [token if is_trained else IGNORED for token, is_trained in zip(row.input_ids, row.trained, strict=True)]


def _samplers(
    options: SFTOptions, work: TrainWork, base: LoadedBase, eval_rows: Sequence[dict[str, Any]]
) -> list[Sampler]:
    rows = eval_rows[: options.samples]
    return [Sampler(work, base.tokenizer, rows, options.sample_tokens)] if rows else []

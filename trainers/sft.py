"""Supervised fine-tuning: TRL's SFTTrainer behind our options, on exactly the tokens that the preview shows.

`medley.corpus.tokens.encode_all` makes tokens and loss mask; TRL gets them ready-made and adds only the training loop.
"""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from medley.corpus import read_rows
from medley.corpus.tokens import Encoded, encode_all
from medley.lm.load import LoadedBase, load_base
from trainers.adapter import attach_adapter
from trainers.epoch_order import SeededOrder
from trainers.reporting import Reporter, Sampler
from trainers.sft_options import SFTOptions
from trainers.trl_run import result_of, run, shared_arguments
from trainers.work import TrainResult, TrainWork

IGNORED = -100  # the label of a token that the loss passes over, everywhere in PyTorch


def train(options: SFTOptions, work: TrainWork) -> TrainResult:
    """Train a LoRA adapter on a dataset's train split and measure it on the eval split.

    Same options, same machine, same adapter bytes on a CPU; a run that was stopped or killed and resumed from its
    checkpoint gives the same bytes as one that was not.

    Raises:
        DatasetError: no row has anything to learn from.
        BaseModelError: the base cannot be loaded.
        ParameterError: the targets match no module.
    """
    work.emit("progress", step=0, total=0, text="Loading the base model")
    base = load_base(work.base_dir, quant=options.quant, device=options.device)
    train_rows = read_rows(work.data_dir, "train")
    eval_rows = read_rows(work.data_dir, "eval")[: options.max_eval_rows]
    train_set = _dataset(train_rows, base, options, work, split="train")
    eval_set = _dataset(eval_rows, base, options, work, split="eval") if eval_rows else None
    set_seed(options.seed)  # LoRA's A is drawn from the global generator
    model = attach_adapter(base.model, options, work.init_adapter)
    reporter = Reporter(work)
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
    summary = run(trainer, reporter, work)
    return result_of(trainer, reporter, summary, base, work)


class SeededSFTTrainer(SeededOrder, SFTTrainer):
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


def labels_of(row: Encoded) -> list[int]:
    """The token where it is trained, `IGNORED` where it is only read."""
    return [token if is_trained else IGNORED for token, is_trained in zip(row.input_ids, row.trained, strict=True)]


def _samplers(
    options: SFTOptions, work: TrainWork, base: LoadedBase, eval_rows: Sequence[dict[str, Any]]
) -> list[Sampler]:
    rows = eval_rows[: options.samples]
    return [Sampler(work, base.tokenizer, rows, options.sample_tokens)] if rows else []

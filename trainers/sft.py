"""Supervised fine-tuning: TRL's SFTTrainer behind our options, on exactly the tokens that the preview shows.

`medley.corpus.tokens.encode_all` makes tokens and loss mask; TRL gets them ready-made and adds only the training loop.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, set_seed
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import SFTConfig, SFTTrainer

from medley.corpus import read_rows
from medley.corpus.tokens import Encoded, encode_all
from medley.lm.load import LoadedBase, load_base
from trainers.adapter import attach_adapter, save_adapter
from trainers.checkpoints import newest_checkpoint
from trainers.options import SFTOptions
from trainers.reporting import Reporter, Sampler
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
    train_rows, eval_rows = _splits(options, work)
    train_set = _dataset(train_rows, base, options, work, split="train")
    eval_set = _dataset(eval_rows, base, options, work, split="eval") if eval_rows else None
    set_seed(options.seed)  # LoRA's A is drawn from the global generator
    model = attach_adapter(base.model, options, work.init_adapter)
    reporter = Reporter(work)
    trainer = SeededSFTTrainer(
        model=model,
        args=_arguments(options, work, base, has_eval=eval_set is not None),
        train_dataset=train_set,
        eval_dataset=eval_set,
        processing_class=base.tokenizer,
        callbacks=[reporter, *_samplers(options, work, base, eval_rows)],
    )
    trainer.remove_callback(PrinterCallback)  # every number is an event already
    outcome = trainer.train(resume_from_checkpoint=str(work.resume_from) if work.resume_from else None)
    if eval_set is not None and not reporter.was_stopped and reporter.last_eval_step != trainer.state.global_step:
        trainer.evaluate()
    return _finish(trainer, reporter, outcome.metrics, base, work)


def _splits(options: SFTOptions, work: TrainWork) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    eval_rows = read_rows(work.data_dir, "eval")[: options.max_eval_rows]
    return read_rows(work.data_dir, "train"), eval_rows


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


def _arguments(options: SFTOptions, work: TrainWork, base: LoadedBase, *, has_eval: bool) -> SFTConfig:
    """TRL's configuration; what is not an option of ours is fixed here, with the reason where it is not plain."""
    return SFTConfig(
        output_dir=str(work.out_dir / "checkpoints"),
        num_train_epochs=options.epochs,
        max_steps=options.max_steps or -1,
        learning_rate=options.learning_rate,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.batch_size,
        gradient_accumulation_steps=options.gradient_accumulation,
        lr_scheduler_type=options.lr_schedule,
        warmup_steps=options.warmup_share,  # below 1 it is a share of all steps
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        max_length=None,  # the rows are already cut
        train_sampling_strategy="group_by_length" if options.group_by_length else "random",
        gradient_checkpointing=options.gradient_checkpointing,
        eval_strategy="steps" if has_eval else "no",
        eval_steps=options.eval_every,
        eval_on_start=has_eval and work.resume_from is None,
        save_steps=options.save_every,
        save_total_limit=options.keep_checkpoints,
        logging_steps=1,
        seed=options.seed,
        use_cpu=base.device.name == "cpu",
        bf16=False,  # the base is already in its dtype; autocast on top would only cast again
        dataloader_pin_memory=base.device.name == "cuda",
        report_to="none",
        disable_tqdm=True,
    )


def _samplers(
    options: SFTOptions, work: TrainWork, base: LoadedBase, eval_rows: Sequence[dict[str, Any]]
) -> list[Sampler]:
    rows = eval_rows[: options.samples]
    return [Sampler(work, base.tokenizer, rows, options.sample_tokens)] if rows else []


class SeededSFTTrainer(SFTTrainer):
    """SFTTrainer whose order of rows depends on seed and epoch alone, so that a resumed run sees the same batches."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> "EpochOrder":
        lengths = [len(ids) for ids in (train_dataset or self.train_dataset)["input_ids"]]
        batch_rows = self.args.train_batch_size * self.args.gradient_accumulation_steps
        grouped_by = batch_rows if self.args.train_sampling_strategy == "group_by_length" else None
        return EpochOrder(lengths, seed=self.args.seed, grouped_by=grouped_by)


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
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        if self.grouped_by is None:
            return iter(torch.randperm(len(self), generator=generator).tolist())
        return iter(LengthGroupedSampler(self.grouped_by, lengths=self.lengths, generator=generator))


def _finish(
    trainer: SFTTrainer, reporter: Reporter, summary: dict[str, float], base: LoadedBase, work: TrainWork
) -> TrainResult:
    adapter_dir = None
    if not reporter.was_stopped:
        adapter_dir = save_adapter(
            trainer.model, work.out_dir / "adapter", base_id=work.base_id, base_revision=work.base_revision
        )
        work.emit("artifact", path=adapter_dir.name)
    return TrainResult(
        adapter_dir=adapter_dir,
        checkpoint=newest_checkpoint(work.out_dir),
        steps=trainer.state.global_step,
        was_stopped=reporter.was_stopped,
        trained_on=base.device.trained_on,
        template_hash=base.template_hash,
        metrics=_final_metrics(trainer, reporter, summary),
    )


def _final_metrics(trainer: SFTTrainer, reporter: Reporter, summary: dict[str, float]) -> dict[str, float]:
    metrics = {"train_loss": summary["train_loss"], "train_runtime_s": summary["train_runtime"]}
    eval_losses = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
    if eval_losses:
        metrics |= {"eval_loss_before": eval_losses[0], "eval_loss": eval_losses[-1]}
    return {name: round(value, 6) for name, value in metrics.items()}

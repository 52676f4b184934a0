"""Reward models: TRL's RewardTrainer behind our options, on exactly the tokens that the preview shows.

The loss is Bradley-Terry's, -log sigma(r_chosen - r_rejected) (2203.02155, equation 1). What is saved is a LoRA adapter
with its score head; the base stays as it is. At the end the whole eval split is scored and compared with a ruler.
"""

import math
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import set_seed
from trl import RewardConfig, RewardTrainer
from trl.trainer.utils import disable_dropout_in_model

from medley.corpus import read_rows
from medley.errors import DatasetError
from medley.lm.load import LoadedBase, load_score_base
from medley.lm.score_model import score_rows
from trainers.cardless import Cardless
from trainers.epoch_order import SeededOrder
from trainers.preference_report import report_pairs
from trainers.reporting import Reporter
from trainers.reward_adapter import attach_reward_adapter
from trainers.reward_options import RewardOptions
from trainers.reward_rows import TokenPair, fitting, token_pairs
from trainers.trl_run import kept_precise, result_of, run, shared_arguments
from trainers.warm_up import SharedWarmUp
from trainers.work import TrainResult, TrainWork


def train(options: RewardOptions, work: TrainWork) -> TrainResult:
    """Train a reward model on a dataset's train split and report on its eval split.

    The result's metrics are those of `trainers.preference_report`, each with "eval_" before it. Where the model does
    not beat the better of the rules "longer wins" and "shorter wins", a warning says so.

    Raises:
        DatasetError: no pair fits into `max_length`.
        BaseModelError: the base cannot be loaded, or has no token to pad with.
        ParameterError, IncompatibleError: as `attach_reward_adapter`.
    """
    work.emit("progress", step=0, total=0, text="Loading the base model")
    base = load_score_base(work.base_dir, quant=options.quant, device=options.device)
    train_pairs = _pairs("train", base, options, work)
    eval_pairs = _pairs("eval", base, options, work) if options.max_eval_rows else []
    disable_dropout_in_model(base.model)  # before the adapter: its own dropout is an option
    set_seed(options.seed)  # LoRA's A is drawn from the global generator
    model = attach_reward_adapter(base, options, work.init_adapter)
    reporter = Reporter(work)
    with kept_precise(model):
        trainer = SeededRewardTrainer(
            model=model,
            args=RewardConfig(
                **shared_arguments(options, work, base, has_eval=bool(eval_pairs)),
                max_length=None,  # the pairs are already chosen
                disable_dropout=False,
                center_rewards_coefficient=options.center_rewards_coefficient,
            ),
            train_dataset=_dataset(train_pairs),
            eval_dataset=_dataset(eval_pairs[: options.max_eval_rows]) if eval_pairs else None,
            processing_class=base.tokenizer,
            callbacks=[reporter],
        )
    summary = run(trainer, reporter, work)
    report = {} if reporter.was_stopped or not eval_pairs else _report(trainer, eval_pairs, base, options, work)
    return result_of(trainer, reporter, summary, base, work, more_metrics=report)


class SeededRewardTrainer(Cardless, SharedWarmUp, SeededOrder, RewardTrainer):
    """TRL's RewardTrainer with our order of rows."""


def _pairs(split: str, base: LoadedBase, options: RewardOptions, work: TrainWork) -> list[TokenPair]:
    """The pairs of a split that fit; those that do not are counted aloud."""
    found = token_pairs(read_rows(work.data_dir, split), base.tokenizer)
    kept = fitting(found, options.max_length)
    if not kept and split == "train":
        raise DatasetError(_nothing_to_train(found, options.max_length))
    left_out = len(found) - len(kept)
    if left_out:
        pairs = "1 pair" if left_out == 1 else f"{left_out:,} pairs"
        text = f"{split} split: {pairs} left out, because a side is longer than {options.max_length} tokens."
        work.emit("warning", text=text)
    if not kept:
        work.emit("warning", text="There are no held-out pairs, so nothing is known of how well it will judge.")
    return kept


def _nothing_to_train(pairs: Sequence[TokenPair], max_length: int) -> str:
    if not pairs:
        return "There are no pairs to train on."
    return (
        f"Nothing is left to train on: in all {len(pairs)} pairs a side is longer than {max_length} tokens. "
        f"Raise max_length; the shortest pair needs {min(pair.longest for pair in pairs)}."
    )


def _dataset(pairs: Sequence[TokenPair]) -> Dataset:
    """The columns that TRL takes as tokenised already."""
    return Dataset.from_dict(
        {"chosen_ids": [pair.chosen_ids for pair in pairs], "rejected_ids": [pair.rejected_ids for pair in pairs]}
    )


def _report(
    trainer: Any, pairs: Sequence[TokenPair], base: LoadedBase, options: RewardOptions, work: TrainWork
) -> dict[str, float]:
    """The metrics over all held-out pairs, told as an event as well; a warning where a ruler does as well."""
    rows = [ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]
    scores = score_rows(
        trainer.model, rows, base.tokenizer.pad_token_id, batch_size=2 * options.batch_size, emit=work.emit
    )
    if not all(map(math.isfinite, scores)):
        work.emit("warning", text="The scores are not finite numbers, so nothing was measured. Lower learning_rate.")
        return {}
    report = report_pairs(
        [pair.scored(*both) for pair, both in zip(pairs, zip(scores[::2], scores[1::2], strict=True), strict=True)]
    )
    if not report.beats_baseline:
        work.emit("warning", step=trainer.state.global_step, text=report.verdict())
    return report.metrics("eval_")

"""Direct preference optimisation: TRL's DPOTrainer behind our options, on exactly the tokens that the preview shows.

The reference policy is a frozen copy of the adapter that training starts from; without one it is the base.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import set_seed
from trl import DPOConfig, DPOTrainer

from medley.corpus import read_rows
from medley.lm.load import LoadedBase, load_base
from medley.options import check_together
from trainers.cardless import Cardless
from trainers.displacement import DisplacementWatch
from trainers.dpo_options import DPOOptions
from trainers.epoch_order import SeededOrder
from trainers.eval_rows import rows_to_measure
from trainers.pairs import encode_pairs
from trainers.reference import attach_policy
from trainers.reference_run import Log, run_held
from trainers.reporting import Reporter, Sampler
from trainers.trl_run import kept_precise, shared_arguments
from trainers.warm_up import SharedWarmUp
from trainers.work import TrainResult, TrainWork

LAST_METRICS = ("eval_rewards/accuracies", "eval_rewards/margins")  # kept with the adapter, as last measured


def train(options: DPOOptions, work: TrainWork) -> TrainResult:
    """Train a LoRA adapter on preference pairs and measure how far it went from its reference.

    Same options, same machine, same adapter bytes on a CPU; a run that was stopped or killed and resumed from its
    checkpoint gives the same bytes as one that was not.

    Raises:
        ProblemsError: options that contradict each other.
        ParameterError: the targets match no module or the output matrix.
        DatasetError: no pair has both its answers within max_length.
        BaseModelError: the base cannot be loaded.
    """
    check_together(options)
    work.emit("progress", step=0, total=0, text="Loading the base model")
    base = load_base(work.base_dir, quant=options.quant, device=options.device)
    eval_rows = rows_to_measure(read_rows(work.data_dir, "eval"), base, options, work)
    train_set = _dataset(read_rows(work.data_dir, "train"), base, options, work, split="train")
    eval_set = _dataset(eval_rows, base, options, work, split="eval") if eval_rows else None
    set_seed(options.seed)  # LoRA's A is drawn from the global generator
    model = attach_policy(base.model, options, work.init_adapter)
    reporter = Reporter(work)
    watchers = [reporter, DisplacementWatch(work, beta=options.beta, has_eval=eval_set is not None)]
    if eval_rows and options.samples:
        watchers.append(Sampler(work, base.tokenizer, eval_rows[: options.samples], options.sample_tokens))
    with kept_precise(model):
        trainer = SeededDPOTrainer(
            model=model,
            args=DPOConfig(
                **shared_arguments(options, work, base, has_eval=eval_set is not None),
                **_loss_arguments(options),
                max_length=None,  # the pairs are already cut
            ),
            train_dataset=train_set,
            eval_dataset=eval_set,
            processing_class=base.tokenizer,
            callbacks=watchers,
        )
    return run_held(trainer, reporter, base, options, work, own_metrics=last_measured)


class SeededDPOTrainer(Cardless, SharedWarmUp, SeededOrder, DPOTrainer):
    """TRL's DPOTrainer with our order of rows, on pairs that are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


def _loss_arguments(options: DPOOptions) -> dict[str, Any]:
    has_sft = options.sft_weight > 0
    return {
        "beta": options.beta,
        "loss_type": [options.loss, *(["sft"] if has_sft else [])],
        "loss_weights": [1.0, options.sft_weight] if has_sft else None,
        "label_smoothing": options.smoothing,
    }


def _dataset(
    rows: Sequence[Mapping[str, Any]], base: LoadedBase, options: DPOOptions, work: TrainWork, *, split: str
) -> Dataset:
    pairs, report = encode_pairs(rows, base.tokenizer, max_length=options.max_length)
    for warning in report.warnings():
        work.emit("warning", text=f"{split} split: {warning}")
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return Dataset.from_dict({name: [getattr(pair, name) for pair in pairs] for name in names})


def last_measured(log: Log) -> dict[str, float]:
    """The last accuracy and margin on the eval rows; nothing where there were none."""
    found = {name: [line[name] for line in log if name in line] for name in LAST_METRICS}
    return {name: round(values[-1], 6) for name, values in found.items() if values}

"""Kahneman-Tversky optimisation: TRL's KTOTrainer behind our options, on exactly the tokens that the preview shows.

The reference policy is a frozen copy of the adapter that training starts from; without one it is the base. A preference
row counts as two: the chosen answer is good, the rejected one is bad.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import set_seed
from trl import KTOConfig, KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from medley.corpus import read_rows
from medley.corpus.token_report import report_tokens
from medley.corpus.tokens import encode
from medley.errors import DatasetError
from medley.lm.load import LoadedBase, load_base
from trainers.cardless import Cardless
from trainers.displacement import DisplacementWatch
from trainers.epoch_order import SeededOrder
from trainers.eval_rows import rows_to_measure
from trainers.kto_options import KTOOptions
from trainers.reference import attach_policy
from trainers.reference_run import run_held
from trainers.reporting import Reporter, Sampler
from trainers.trl_run import kept_precise, shared_arguments
from trainers.warm_up import SharedWarmUp
from trainers.work import TrainResult, TrainWork

BALANCE = (1.0, 4 / 3)  # of the weighted numbers of good and bad answers (2402.01306, equation 9)


def train(options: KTOOptions, work: TrainWork) -> TrainResult:
    """Train a LoRA adapter on good and bad answers and measure how far it went from its reference.

    Same options, same machine, same adapter bytes on a CPU; a run that was stopped or killed and resumed from its
    checkpoint gives the same bytes as one that was not.

    Raises:
        ParameterError: the targets match no module or the output matrix.
        DatasetError: no row has anything to learn from.
        BaseModelError: the base cannot be loaded.
    """
    work.emit("progress", step=0, total=0, text="Loading the base model")
    base = load_base(work.base_dir, quant=options.quant, device=options.device)
    eval_rows = rows_to_measure(labelled(read_rows(work.data_dir, "eval")), base, options, work)
    train_set = _dataset(labelled(read_rows(work.data_dir, "train")), base, options, work, split="train")
    eval_set = _dataset(eval_rows, base, options, work, split="eval") if eval_rows else None
    _tell_balance(train_set["label"], options, work)
    set_seed(options.seed)  # LoRA's A is drawn from the global generator
    model = attach_policy(base.model, options, work.init_adapter)
    reporter = Reporter(work)
    watchers = [reporter, DisplacementWatch(work, beta=options.beta, has_eval=eval_set is not None)]
    if eval_rows and options.samples:
        watchers.append(Sampler(work, base.tokenizer, eval_rows[: options.samples], options.sample_tokens))
    with kept_precise(model):
        trainer = SeededKTOTrainer(
            model=model,
            args=KTOConfig(
                **shared_arguments(options, work, base, has_eval=eval_set is not None)
                | {"train_sampling_strategy": "sequential"},  # TRL asks for it, as it would pair rows beforehand
                **_loss_arguments(options),
            ),
            data_collator=_collator(base, options),
            train_dataset=train_set,
            eval_dataset=eval_set,
            processing_class=base.tokenizer,
            callbacks=watchers,
        )
    trainer.args.train_sampling_strategy = "group_by_length" if options.group_by_length else "random"
    return run_held(trainer, reporter, base, options, work)


class SeededKTOTrainer(Cardless, SharedWarmUp, SeededOrder, KTOTrainer):
    """TRL's KTOTrainer with our order of rows, on rows that are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


class MismatchingCollator(DataCollatorForUnpairedPreference):
    """A batch in which each prompt is also followed by its neighbour's answer, from which the KL is estimated.

    TRL pairs rows once, in the order of the dataset; here they are paired as they come, so that rows may be shuffled
    and the answers of both halves are the same (2402.01306, section 4.1).
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        answers = [example["completion_ids"] for example in examples]
        return super().torch_call(
            [
                {**example, "KL_completion_ids": answer}
                for example, answer in zip(examples, answers[-1:] + answers[:-1], strict=True)
            ]
        )


def _loss_arguments(options: KTOOptions) -> dict[str, Any]:
    return {
        "beta": options.beta,
        "loss_type": options.loss,
        "desirable_weight": options.desirable_weight,
        "undesirable_weight": options.undesirable_weight,
        "max_length": options.max_length,
    }


def _collator(base: LoadedBase, options: KTOOptions) -> DataCollatorForUnpairedPreference:
    tokenizer = base.tokenizer
    kind = MismatchingCollator if options.loss == "kto" else DataCollatorForUnpairedPreference
    return kind(
        pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        max_length=options.max_length,
    )


def labelled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one answer with a label; a preference row becomes two."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if "completion" in row:
            found.append(dict(row))
        else:
            sides = (("chosen", True), ("rejected", False))
            found += [{"prompt": row["prompt"], "completion": row[side], "label": label} for side, label in sides]
    return found


def _dataset(
    rows: Sequence[Mapping[str, Any]], base: LoadedBase, options: KTOOptions, work: TrainWork, *, split: str
) -> Dataset:
    encoded = [encode(row, base.tokenizer, max_length=options.max_length) for row in rows]
    report = report_tokens(rows, encoded, base.tokenizer, max_length=options.max_length)
    for warning in report.warnings():
        work.emit("warning", text=f"{split} split: {warning}")
    kept = [(row, each) for row, each in zip(rows, encoded, strict=True) if any(each.trained)]
    if not kept:
        raise DatasetError(
            f"Nothing is left of the {split} split: in all {len(rows)} rows the answer begins after the first "
            f"{options.max_length} tokens. Raise max_length."
        )
    starts = [each.trained.index(True) for _, each in kept]
    return Dataset.from_dict(
        {
            "prompt_ids": [each.input_ids[:start] for (_, each), start in zip(kept, starts, strict=True)],
            "completion_ids": [each.input_ids[start:] for (_, each), start in zip(kept, starts, strict=True)],
            "label": [bool(row["label"]) for row, _ in kept],
        }
    )


def _tell_balance(labels: Sequence[bool], options: KTOOptions, work: TrainWork) -> None:
    """A warning where good and bad answers do not weigh about the same, with a weight that would make them."""
    good = sum(labels)
    bad = len(labels) - good
    if not (good and bad):
        work.emit("warning", text=f"All {len(labels):,} answers are labelled {'good' if good else 'bad'}.")
        return
    ratio = good * options.desirable_weight / (bad * options.undesirable_weight)
    if BALANCE[0] <= ratio <= BALANCE[1]:
        return
    name, weight = (
        ("undesirable_weight", good * options.desirable_weight / bad)
        if ratio > 1
        else ("desirable_weight", bad * options.undesirable_weight / good)
    )
    text = f"{good:,} good and {bad:,} bad answers do not weigh the same. {name} {weight:.2f} would balance them."
    work.emit("warning", text=text)

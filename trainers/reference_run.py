"""The run of a policy that is held to a reference: the reference made exact, the training, the distance it went."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from medley.corpus import read_rows
from medley.lm.load import LoadedBase
from medley.lm.prompts import prompt_ids
from trainers.divergence import sampled_divergence
from trainers.reference import as_reference, drop_reference, settle_reference
from trainers.reference_options import ReferenceOptions
from trainers.reporting import Reporter
from trainers.trl_run import result_of, run
from trainers.work import TrainResult, TrainWork

Log = Sequence[Mapping[str, float]]  # what a trainer has logged, line by line


def _nothing(log: Log) -> dict[str, float]:
    return {}


def run_held(
    trainer: Any,
    reporter: Reporter,
    base: LoadedBase,
    options: ReferenceOptions,
    work: TrainWork,
    *,
    drops_inputs: bool = True,
    own_metrics: Callable[[Log], dict[str, float]] = _nothing,
) -> TrainResult:
    """Train to the end or to a stop, and measure the distance from the reference; the adapter is saved without it.

    Args:
        trainer: a TRL trainer as it was made; nothing has run yet.
        drops_inputs: as in `settle_reference`.
        own_metrics: what the trainer keeps of its log, beside the distance.
    """
    settle_reference(trainer.model, has_start=work.init_adapter is not None, drops_inputs=drops_inputs)
    summary = run(trainer, reporter, work)
    distance = {} if reporter.was_stopped else measure_distance(trainer.model, base, options, work)
    drop_reference(trainer.model)
    metrics = distance | own_metrics(trainer.state.log_history)
    return result_of(trainer, reporter, summary, base, work, more_metrics=metrics)


def measure_distance(model: Any, base: LoadedBase, options: ReferenceOptions, work: TrainWork) -> dict[str, float]:
    """The sampled KL of the policy to its reference and the lengths of both their answers; {} where none is wanted.

    The prompts are those of the eval split, in order, without the ones that alone are longer than `max_length`; with
    no eval split they are training prompts, and a warning says so.
    """
    if options.kl_samples == 0:
        return {}
    rows = read_rows(work.data_dir, "eval")
    if not rows:
        rows = read_rows(work.data_dir, "train")
        work.emit("warning", text="There are no eval rows: the KL to the reference is measured on training prompts.")
    prompts = _prompts(rows, base, options)
    if not prompts:
        work.emit("warning", text="The KL to the reference is not measured: every prompt is longer than max_length.")
        return {}
    work.emit("progress", step=0, total=0, text="Measuring the KL to the reference")
    found = sampled_divergence(
        model,
        base.tokenizer,
        prompts,
        as_reference=partial(as_reference, model),
        samples=options.kl_samples,
        max_new_tokens=options.kl_tokens,
        seed=options.seed,
    )
    return {name: round(value, 6) for name, value in found.items()}


def _prompts(rows: Sequence[dict[str, Any]], base: LoadedBase, options: Any) -> list[list[int]]:
    """As many different prompts as there are answers to sample, or all there are."""
    found: dict[tuple[int, ...], None] = {}
    for row in rows:
        ids = prompt_ids(base.tokenizer, row["prompt"])
        if len(ids) <= options.max_length:
            found[tuple(ids)] = None
        if len(found) == options.kl_samples:
            break
    return [list(ids) for ids in found]

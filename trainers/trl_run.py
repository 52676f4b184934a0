"""What the trainers on TRL have in common: their settings, the run from a start or a checkpoint, and its result."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import PrinterCallback

from medley.lm.load import LoadedBase
from trainers.adapter import save_adapter
from trainers.adapter_starts import count_trainable
from trainers.checkpoints import newest_checkpoint
from trainers.reporting import Reporter
from trainers.work import TrainResult, TrainWork


def shared_arguments(options: Any, work: TrainWork, base: LoadedBase, *, has_eval: bool) -> dict[str, Any]:
    """The arguments of any TRL config that our options decide, and what is fixed, with the reason if it is not plain.

    Args:
        options: has the fields of `EpochOptions` and `CommonOptions`.
        has_eval: whether there are rows to measure on.
    """
    return {
        "output_dir": str(work.out_dir / "checkpoints"),
        "num_train_epochs": options.epochs,
        "max_steps": options.max_steps or -1,
        "learning_rate": options.learning_rate,
        "per_device_train_batch_size": options.batch_size,
        "per_device_eval_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.gradient_accumulation,
        "lr_scheduler_type": options.lr_schedule,
        "warmup_steps": options.warmup_share,  # `SharedWarmUp` makes steps of it
        "weight_decay": options.weight_decay,
        "max_grad_norm": options.max_grad_norm,
        "train_sampling_strategy": "group_by_length" if options.group_by_length else "random",
        "gradient_checkpointing": options.gradient_checkpointing,
        "eval_strategy": "steps" if has_eval else "no",
        "eval_steps": options.eval_every,
        "eval_on_start": has_eval and work.resume_from is None,
        "save_steps": options.save_every,
        "save_total_limit": options.keep_checkpoints,
        "logging_steps": 1,
        "seed": options.seed,
        "use_cpu": base.device.name == "cpu",
        "bf16": False,  # the base is already in its dtype; autocast on top would only cast again
        "dataloader_pin_memory": base.device.name == "cuda",
        "report_to": "none",
        "disable_tqdm": True,
    }


@contextmanager
def kept_precise(model: Any) -> Iterator[None]:
    """Within it a TRL trainer is made that leaves the adapter's numbers as they are.

    On a 4-bit base TRL turns all that is trained to bf16, where small steps drown, and where a resumed run, which peft
    gives its weights in float32, would not go on as an undisturbed one.
    """
    weights = {name: each.data for name, each in model.named_parameters() if each.requires_grad}
    yield
    for name, each in model.named_parameters():
        if name in weights:
            each.data = weights[name]


def run(trainer: Any, reporter: Reporter, work: TrainWork) -> dict[str, float]:
    """Train from the start or from the work's checkpoint, measure once more at the end; TRL's own summary."""
    trainer.remove_callback(PrinterCallback)  # every number is an event already
    outcome = trainer.train(resume_from_checkpoint=str(work.resume_from) if work.resume_from else None)
    has_eval = trainer.eval_dataset is not None
    if has_eval and not reporter.was_stopped and reporter.last_eval_step != trainer.state.global_step:
        trainer.evaluate()
    return outcome.metrics


def result_of(
    trainer: Any,
    reporter: Reporter,
    summary: Mapping[str, float],
    base: LoadedBase,
    work: TrainWork,
    *,
    more_metrics: Mapping[str, float] | None = None,
) -> TrainResult:
    """The finished adapter's folder and numbers; no adapter where the run was stopped."""
    adapter_dir = None
    if not reporter.was_stopped:
        adapter_dir = work.out_dir / "adapter"
        if trainer.is_world_process_zero():
            save_adapter(trainer.model, adapter_dir, base_id=work.base_id, base_revision=work.base_revision)
        work.emit("artifact", path=adapter_dir.name)
    return TrainResult(
        adapter_dir=adapter_dir,
        checkpoint=newest_checkpoint(work.out_dir),
        steps=trainer.state.global_step,
        was_stopped=reporter.was_stopped,
        trained_on=base.device.trained_on,
        template_hash=base.template_hash,
        metrics=_final_metrics(trainer, summary) | dict(more_metrics or {}),
    )


def _final_metrics(trainer: Any, summary: Mapping[str, float]) -> dict[str, float]:
    metrics = {
        "train_loss": summary["train_loss"],
        "train_runtime_s": summary["train_runtime"],
        "num_trainable_params": count_trainable(trainer.model),
    }
    eval_losses = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
    if eval_losses:
        metrics |= {"eval_loss_before": eval_losses[0], "eval_loss": eval_losses[-1]}
    return {name: round(value, 6) for name, value in metrics.items()}

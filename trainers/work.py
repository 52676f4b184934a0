"""What a trainer is given and what it hands back. Folders and plain values: no registry, no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medley.events import Emit, ignore_event


def _never() -> bool:
    return False


@dataclass(frozen=True)
class TrainWork:
    """One training run's inputs and places.

    Attributes:
        base_dir: the base model's folder (safetensors and tokenizer).
        base_id: the Hub id (or another public name) that the adapter's config will name as its base.
        base_revision: the base's commit on the Hub, or None.
        data_dir: a dataset folder as `medley.corpus` writes it.
        out_dir: gets `adapter/` and `checkpoints/`; made when absent.
        init_adapter: an adapter folder to start from, or None for a fresh one; for trainers that keep a reference
            policy, it is that policy too.
        adapters: other adapters that the options name (a reward model, say): the reference as it stands in the
            options -> its folder.
        labels: the same references -> what people call those adapters, where that is something else.
        resume_from: a checkpoint folder of an earlier, interrupted run of the same options, or None.
        emit: told of progress, metrics, samples, checkpoints and warnings.
        should_stop: asked after every optimizer step; True saves a checkpoint and ends the run.
    """

    base_dir: Path
    base_id: str
    data_dir: Path
    out_dir: Path
    base_revision: str | None = None
    init_adapter: Path | None = None
    adapters: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    resume_from: Path | None = None
    emit: Emit = ignore_event
    should_stop: Callable[[], bool] = _never


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind.

    Attributes:
        adapter_dir: the finished adapter, or None when the run was stopped before its end.
        checkpoint: the newest checkpoint folder, or None.
        metrics: final numbers by their field's names (`train_loss`, `eval_loss`, …).
        steps: optimizer steps done, counted over resumes.
        was_stopped: True when `should_stop` ended it.
        trained_on: how the base was held in memory: `bf16`, `fp32`, `fp16` or `nf4`.
        template_hash: sha256 of the chat template the rows were rendered with, or None.
    """

    adapter_dir: Path | None
    checkpoint: Path | None
    steps: int
    was_stopped: bool
    trained_on: str
    template_hash: str | None
    metrics: Mapping[str, float] = field(default_factory=dict)

"""A PPO run on disk between two updates: all that decides how it goes on, to the byte."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from medley.errors import IncompatibleError
from trainers.checkpoints import mark_whole, newest_checkpoint, step_of
from trainers.ppo_kl import AdaptiveKL
from trainers.ppo_scores import RunningScores
from trainers.ppo_update import Learner
from trainers.ppo_value import ValueFunction
from trainers.ppo_voices import SharedBase

STATE_FILE = "state.pt"


@dataclass
class RunState:
    """Where a run is, beside the tensors it learns.

    Attributes:
        generator: of the answers' luck and the mini-batches' order, on the CPU.
        kl: the coefficient, adaptive or not.
        scores: running statistics of the scores.
        updates: done so far; the prompts follow from it.
        history: a few numbers of each update, for warnings and the result.
        told: warnings that were given and are not repeated.
    """

    generator: torch.Generator
    kl: AdaptiveKL
    scores: RunningScores = field(default_factory=RunningScores)
    updates: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def save_checkpoint(
    out_dir: Path, state: RunState, base: SharedBase, value: ValueFunction, learner: Learner, *, keep: int
) -> Path:
    """Write `checkpoints/checkpoint-<updates>`, then drop the oldest beyond `keep`."""
    folder = out_dir / "checkpoints" / f"checkpoint-{state.updates}"
    shutil.rmtree(folder, ignore_errors=True)  # one that was cut off
    folder.mkdir(parents=True)
    parameters = {name: tensor.detach() for name, tensor in _parameters(base, value).items()}
    run = {
        "generator": state.generator.get_state(),
        "kl": asdict(state.kl),
        "scores": asdict(state.scores),
        "updates": state.updates,
        "history": state.history,
        "told": state.told,
    }
    torch.save({"parameters": parameters, "optimizer": learner.optimizer.state_dict(), "run": run}, folder / STATE_FILE)
    mark_whole(folder)
    _drop_old(folder.parent, keep)
    return folder


def load_checkpoint(folder: Path, state: RunState, base: SharedBase, value: ValueFunction, learner: Learner) -> None:
    """Put everything back as it was.

    Raises:
        IncompatibleError: the checkpoint is of a run with other shapes.
    """
    saved = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
    parameters = _parameters(base, value)
    shapes = {name: tensor.shape for name, tensor in parameters.items()}
    if {name: tensor.shape for name, tensor in saved["parameters"].items()} != shapes:
        raise IncompatibleError(f"{folder.name} is of a run with other options. Start a new training instead.")
    with torch.no_grad():
        for name, tensor in parameters.items():
            tensor.copy_(saved["parameters"][name])
    learner.optimizer.load_state_dict(saved["optimizer"])
    run: Mapping[str, Any] = saved["run"]
    state.generator.set_state(run["generator"])
    state.kl, state.scores = AdaptiveKL(**run["kl"]), RunningScores(**run["scores"])
    state.updates, state.history, state.told = run["updates"], list(run["history"]), list(run["told"])


def _parameters(base: SharedBase, value: ValueFunction) -> dict[str, torch.Tensor]:
    voices = {"policy": base.policy, "value": value.voice or {}}
    factors = {
        f"{voice}.{name}.{part}": getattr(each, part)
        for voice, modules in voices.items()
        for name, each in modules.items()
        for part in ("a", "b")
    }
    return {**factors, "value.head": value.head_1H}


def _drop_old(folder: Path, keep: int) -> None:
    newest = newest_checkpoint(folder.parent)
    checkpoints = sorted(folder.glob("checkpoint-*"), key=step_of)
    for path in checkpoints[:-keep]:
        if path != newest:
            os.replace(path, path.with_name(f"old-{path.name}"))  # never seen half deleted
            shutil.rmtree(path.with_name(f"old-{path.name}"))

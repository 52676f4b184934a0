"""A search for the weights of a merge: Optuna proposes them, the loss or the mean reward of answers judges them.

The plain weightings that lie between `low` and `high` are the first trials, so that a search never ends below them on
the rows it looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medley.corpus.tokens import Encoded
from medley.errors import MissingDependencyError
from medley.lm.load import LoadedBase
from trainers.learn_weights import LearnedWeights, Weighting, mean_loss
from trainers.rewards import REWARDS
from trainers.weight_options import PLAIN_METRIC, WeightOptions, plain_weights
from trainers.weighted_deltas import WeightedDeltas
from trainers.work import TrainWork

Rows = tuple[Sequence[Mapping[str, Any]], Sequence[Encoded]]


def search_weights(
    options: WeightOptions,
    base: LoadedBase,
    factors: Sequence[Mapping[str, tuple[Tensor, Tensor]]],
    train: Rows,
    measured: Rows,
    work: TrainWork,
) -> LearnedWeights:
    """The best weights found on `train`, measured on `measured`; arguments as `learn_weights` makes them.

    Raises:
        MissingDependencyError: Optuna is not installed.
    """
    optuna = _optuna()
    count = len(factors)
    judge = _Judge(options, base, WeightedDeltas(base.model, factors, layers=1))
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=options.seed))
    for _, weight in plain_weights(count):
        if options.low <= weight <= options.high:
            study.enqueue_trial({_name(index): weight for index in range(count)})
    try:
        study.optimize(lambda trial: _try_out(trial, judge, count, train, work), n_trials=options.trials)
        best = [study.best_params[_name(index)] for index in range(count)]
        plain = tuple(judge.measure(name, [weight] * count, measured) for name, weight in plain_weights(count))
        return LearnedWeights(judge.measure("learned", best, measured), plain, options.metric)
    finally:
        judge.deltas.detach_hooks()


@dataclass(frozen=True)
class _Judge:
    """What a weighting is worth on rows."""

    options: WeightOptions
    base: LoadedBase
    deltas: WeightedDeltas

    def reward(self, rows: Rows) -> float | None:
        """The mean reward of the answers, where a reward is searched for."""
        return None if self.options.metric == PLAIN_METRIC else mean_reward(self.base, rows[0], self.options)

    def loss(self, rows: Rows) -> float:
        return mean_loss(self.base, rows[1], self.options)

    def measure(self, name: str, weights: Sequence[float], rows: Rows) -> Weighting:
        self.deltas.set(weights)
        return Weighting(name, tuple((each,) for each in weights), self.loss(rows), self.reward(rows))


def _try_out(trial: Any, judge: _Judge, count: int, rows: Rows, work: TrainWork) -> float:
    """What one weighting costs: the loss, or the negative reward."""
    options = judge.options
    judge.deltas.set([trial.suggest_float(_name(index), options.low, options.high) for index in range(count)])
    reward = judge.reward(rows)
    found = {"loss": judge.loss(rows)} if reward is None else {"reward": reward}
    work.emit("metric", step=trial.number + 1, **found)
    work.emit("progress", step=trial.number + 1, total=options.trials, text="Trying weights out")
    if work.should_stop():
        trial.study.stop()
    return found["loss"] if reward is None else -reward


def _name(index: int) -> str:
    """What Optuna calls the weight of an adapter."""
    return f"weight {index}"


@torch.no_grad()
def mean_reward(base: LoadedBase, rows: Sequence[Mapping[str, Any]], options: WeightOptions) -> float:
    """The reward function's mean over greedy answers to the rows' prompts."""
    from medley.lm.engine import Engine, Pane
    from medley.lm.sampling import Sampling

    name, _, argument = options.metric.partition(":")
    engine, sampling = Engine(base), Sampling(temperature=0.0, max_new_tokens=options.new_tokens)
    answers: list[str] = []
    for start in range(0, len(rows), options.batch_size):
        panes = [Pane(row["prompt"]) for row in rows[start : start + options.batch_size]]
        answers += [each.text for each in engine.generate(panes, sampling)]
    prompts = [row["prompt"][-1]["content"] for row in rows]
    scores = REWARDS[name].make(argument)(prompts, answers)
    return sum(scores) / len(scores)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError("A search needs Optuna. Install it with: pip install 'medley[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna

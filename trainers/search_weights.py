"""A search for the weights of a merge: Optuna proposes them, the loss or the mean reward of answers judges them.

The plain weightings are the first trials, so that a search never ends below them on the rows it looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medley.corpus.tokens import Encoded
from medley.errors import MissingDependencyError
from medley.lm.load import LoadedBase
from trainers.learn_weights import LearnedWeights, Weighting, mean_loss
from trainers.rewards import REWARDS
from trainers.weight_options import PLAIN_METRIC, WeightOptions
from trainers.weighted_deltas import WeightedDeltas
from trainers.work import TrainWork

Rows = tuple[Sequence[Mapping[str, Any]], Sequence[Encoded]]
Cost = Callable[[Rows], float]


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
    deltas = WeightedDeltas(base.model, factors, layers=1)

    def reward(rows: Rows) -> float:
        return mean_reward(base, rows[0], options)

    def cost(rows: Rows) -> float:
        return mean_loss(base, rows[1], options) if options.metric == PLAIN_METRIC else -reward(rows)

    def judge(trial: Any) -> float:
        deltas.set([trial.suggest_float(f"weight {index}", options.low, options.high) for index in range(count)])
        found = cost(train)
        name = "loss" if options.metric == PLAIN_METRIC else "reward"
        work.emit("metric", step=trial.number + 1, **{name: abs(found) if name == "loss" else -found})
        work.emit("progress", step=trial.number + 1, total=options.trials, text="Trying weights out")
        if work.should_stop():
            trial.study.stop()
        return found

    def measure(name: str, weights: Sequence[float]) -> Weighting:
        deltas.set(weights)
        score = None if options.metric == PLAIN_METRIC else reward(measured)
        return Weighting(name, tuple((each,) for each in weights), mean_loss(base, measured[1], options), score)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=options.seed))
    plain = [("1/n each", 1 / count), ("1 each", 1.0), ("the base alone", 0.0)]
    for _, weight in plain:
        if options.low <= weight <= options.high:
            study.enqueue_trial({f"weight {index}": weight for index in range(count)})
    try:
        study.optimize(judge, n_trials=options.trials)
        best = [study.best_params[f"weight {index}"] for index in range(count)]
        return LearnedWeights(
            measure("learned", best), tuple(measure(name, [each] * count) for name, each in plain), options.metric
        )
    finally:
        deltas.detach_hooks()


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

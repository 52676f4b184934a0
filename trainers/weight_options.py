"""What can be turned when the weights of a merge are learned from rows, or searched for."""

from dataclasses import dataclass

from medley.errors import ParameterError
from medley.options import option
from trainers.rewards import REWARDS

PLAIN_METRIC = "loss"
BASE_ALONE = "the base alone"


@dataclass(frozen=True)
class WeightOptions:
    """The weights of a merge, from a few hundred rows: by gradient (LoRA Soups, Prabhakar et al. 2024, 2410.13025) or
    by search (Optuna's TPE, Akiba et al. 2019, 1907.10902).

    Both learn on the train split; what is reported is measured on the eval split, beside plain task arithmetic.
    """

    how: str = option("gradient", "Follow the loss, or try weights out.", choices=("gradient", "search"))
    per: str | None = option(
        None,
        "A weight for each adapter, or for each in each layer; when empty by layer for a gradient, else by adapter.",
        choices=("adapter", "layer"),
    )
    metric: str = option(
        PLAIN_METRIC,
        f"What a search looks for: a low loss, or a high mean reward of the answers ({', '.join(REWARDS)}; "
        "one that takes an argument as matches:^Yes).",
    )
    steps: int = option(60, "Optimizer steps of the gradient.", low=1, high=100_000)
    trials: int = option(40, "Weightings that a search tries out.", low=3, high=10_000)
    learning_rate: float = option(
        0.03, "Learning rate of the weights; they start at 1/n.", above=0, high=10, advanced=True
    )
    low: float = option(-0.5, "Smallest weight that a search tries.", low=-4, high=4, advanced=True)
    high: float = option(1.5, "Largest weight that a search tries.", low=-4, high=4, advanced=True)
    batch_size: int = option(8, "Rows in one forward pass.", low=1, high=4096, advanced=True)
    max_length: int = option(512, "Tokens kept of a row.", low=8, high=1_048_576, advanced=True)
    max_rows: int = option(400, "Rows of the train split that are learned from.", low=1, advanced=True)
    max_eval_rows: int = option(200, "Rows of the eval split that are measured.", low=1, advanced=True)
    new_tokens: int = option(64, "Longest answer that a reward is given for.", low=1, high=4096, advanced=True)
    seed: int = option(0, "Seed of the order of the rows, and of the search.", low=0, high=2**32 - 1, advanced=True)
    device: str = option("auto", "Where to run.", choices=("auto", "cuda", "mps", "cpu"), advanced=True)

    @property
    def is_by_layer(self) -> bool:
        """Whether each layer has weights of its own."""
        return (self.per or ("layer" if self.how == "gradient" else "adapter")) == "layer"

    def problems(self) -> list[str]:
        """What only several options together get wrong."""
        found = []
        if self.how == "search" and self.is_by_layer:
            found.append("A search over every layer has too many numbers to try out. Use per=adapter, or how=gradient.")
        if self.how == "gradient" and self.metric != PLAIN_METRIC:
            found.append(f"A gradient follows the loss only, not {self.metric}. Use how=search for it.")
        if self.low >= self.high:
            found.append(f"low must be below high, got {self.low:g} and {self.high:g}.")
        try:
            check_metric(self.metric)
        except ParameterError as error:
            found.append(str(error))
        return found


def plain_weights(count: int) -> tuple[tuple[str, float], ...]:
    """The weightings of task arithmetic that need no data, each one number for all `count` adapters."""
    return (("1/n each", 1 / count), ("1 each", 1.0), (BASE_ALONE, 0.0))


def check_metric(metric: str) -> None:
    """Raises ParameterError where a metric is neither the loss nor a reward function with its argument."""
    name, colon, argument = metric.partition(":")
    if metric == PLAIN_METRIC:
        return
    if name not in REWARDS:
        raise ParameterError(f"metric must be {PLAIN_METRIC} or one of {', '.join(REWARDS)}, got '{metric}'.")
    row = REWARDS[name]
    if bool(row.needs) != bool(colon and argument):
        wanted = f"needs {row.needs}, as in {name}:{row.example}" if row.needs else "takes no argument"
        raise ParameterError(f"metric {name} {wanted}.")
    row.make(argument)

"""How a reward is written in options: `sentiment`, `sentiment=0.7`, `my-reward-model:v2=0.3`, `matches:^Yes`.

A word is a function of the table in `rewards.py` (with an argument after a colon where the function takes one) or a
reward adapter; the number behind `=` is its weight, 1 when it is not said. No torch here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medley.errors import ParameterError
from trainers.rewards import REWARDS


@dataclass(frozen=True)
class RewardTerm:
    """One part of a weighted sum of rewards.

    Attributes:
        name: a function of the table, or the reference of a reward adapter.
        argument: what stands behind a function's colon, or "".
        weight: any finite number but 0; a negative one punishes.
    """

    name: str
    argument: str
    weight: float

    @property
    def is_adapter(self) -> bool:
        return self.name not in REWARDS


def parse_rewards(words: Sequence[str]) -> list[RewardTerm]:
    """The terms of a reward as the options write it.

    Raises:
        ParameterError: nothing at all, an empty name, a weight that is 0, or a function without its argument.
    """
    if not words:
        raise ParameterError(f"A reward is needed: one or more of {', '.join(REWARDS)}, or a reward adapter's name.")
    return [_parse(word) for word in words]


def names_of(terms: Sequence[RewardTerm], labels: Mapping[str, str]) -> list[str]:
    """A name for each term, to show its scores by: no two alike, a function's with its argument.

    Args:
        labels: the references of reward adapters -> what people call them, where that is something else.
    """
    plain = [f"{each.name}:{each.argument}" if each.argument else labels.get(each.name, each.name) for each in terms]
    times = [plain[: place + 1].count(name) for place, name in enumerate(plain)]
    return [f"{name} ({count})" if count > 1 else name for name, count in zip(plain, times, strict=True)]


def _parse(word: str) -> RewardTerm:
    name, weight = _split_weight(word.strip())
    if not name:
        raise ParameterError(f"The reward {word!a} has no name. Write it like sentiment=0.7.")
    if weight == 0:
        raise ParameterError(f"The reward {word!a} has the weight 0. Leave it out, or give it another weight.")
    head, _, argument = name.partition(":")
    if head not in REWARDS:
        return RewardTerm(name, "", weight)  # an adapter: its colon stands before a version
    function = REWARDS[head]
    if function.needs and not argument:
        raise ParameterError(f"The reward {head} needs {function.needs}. Write it like {head}:{function.example}.")
    if argument and not function.needs:
        raise ParameterError(f"The reward {head} takes nothing behind a colon, got {argument!a}.")
    function.make(argument)  # an argument that cannot be used is told now
    return RewardTerm(head, argument, weight)


def _split_weight(word: str) -> tuple[str, float]:
    """(name, weight); what stands behind the last = counts as a weight only where it is a number."""
    name, equals, number = word.rpartition("=")
    if equals:
        try:
            weight = float(number)
        except ValueError:
            return word, 1.0
        if abs(weight) < float("inf"):  # False for NaN as well
            return name.strip(), weight
    return word, 1.0


def adapters_in(words: Sequence[str]) -> tuple[str, ...]:
    """The references of the reward adapters among these words, each once."""
    return tuple(dict.fromkeys(term.name for term in map(_parse, words) if term.is_adapter))


def with_adapters(words: Sequence[str], pinned: Mapping[str, str]) -> tuple[str, ...]:
    """The same words with the adapters' references replaced as `pinned` says."""
    replaced = []
    for word in words:
        name, weight = _split_weight(word.strip())
        replaced.append(f"{pinned[name]}={weight:g}" if name in pinned else word)
    return tuple(replaced)

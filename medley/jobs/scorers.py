"""What gives an answer a number, by name: a reward model of the registry, or a function of the trainers' table.

    scorer = open_scorer(registry, "my-reward-model")
    scorer.score([(prompt_messages, answer_messages)])

Scoring datasets and single answers is next door in scoring.py.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from medley.errors import IncompatibleError, ParameterError
from medley.events import Emit, ignore_event
from medley.jobs.artifacts import FoundAdapter, find_adapter
from medley.jobs.base_names import belongs_to, identity_of
from medley.jobs.bases import base_folder, base_of, find_base
from medley.jobs.shadows import warnings_of

if TYPE_CHECKING:
    from hub import Registry
    from medley.lm.score_model import ScoreModel
    from trainers.rewards import Score

Messages = Sequence[Mapping[str, str]]
Answered = tuple[Messages, Messages]  # the prompt, and the answer's turns; it ends with the assistant's


class Scorer(Protocol):
    """Gives answers numbers; higher is better, and numbers of two scorers do not compare.

    Attributes:
        label: for people: "judge:v2", or a function's name.
        is_model: True for a reward model, False for a function.
    """

    label: str
    is_model: bool

    def score(self, answers: Sequence[Answered], emit: Emit = ignore_event) -> list[float | None]:
        """One number an answer, in order; None for one that is longer than the base can read."""
        ...


class ModelScorer:
    """A reward model as a `Scorer`; an answer is scored on the tokens that training would see."""

    is_model = True

    def __init__(self, label: str, model: "ScoreModel") -> None:
        self.label, self.model = label, model

    def score(self, answers: Sequence[Answered], emit: Emit = ignore_event) -> list[float | None]:
        from medley.corpus.tokens import encode_all

        if not answers:
            return []
        rows = [{"prompt": prompt, "completion": answer} for prompt, answer in answers]
        encoded, _ = encode_all(rows, self.model.base.tokenizer, max_length=None)
        longest = self.model.longest
        fits = [longest is None or len(each.input_ids) <= longest for each in encoded]
        kept = [each.input_ids for each, is_short in zip(encoded, fits, strict=True) if is_short]
        scores = iter(self.model.score(kept, emit=emit))
        return [next(scores) if is_short else None for is_short in fits]


class FunctionScorer:
    """A function of `trainers.rewards` as a `Scorer`; it sees the last turn of the prompt and of the answer."""

    is_model = False

    def __init__(self, label: str, function: "Score") -> None:
        self.label, self.function = label, function

    def score(self, answers: Sequence[Answered], emit: Emit = ignore_event) -> list[float | None]:
        prompts = [prompt[-1]["content"] if prompt else "" for prompt, _ in answers]
        return list(self.function(prompts, [answer[-1]["content"] for _, answer in answers]))


def open_scorer(
    registry: "Registry",
    name: str,
    *,
    base: str | None = None,
    quant: str | None = None,
    device: str | None = None,
    may_open_paths: bool = True,
    emit: Emit = ignore_event,
) -> Scorer:
    """The scorer of that name, loaded.

    Args:
        name: a function ("sentiment", "matches:^Yes"), else a reward model: a registry name, a path or a Hub id.
        base: for a reward model that does not say its base; None for its own.
        quant, device: as in `medley.lm.load.choose_device`.
        may_open_paths: False where strangers type the name (the app).

    Raises:
        NotFoundError, ParameterError, …: the name means nothing, or no reward model.
        IncompatibleError: the reward model belongs to another base.
    """
    from trainers.reward_words import parse_rewards
    from trainers.rewards import REWARDS

    if name.partition(":")[0] in REWARDS:
        [term] = parse_rewards([name])
        return FunctionScorer(name, REWARDS[term.name].make(term.argument))
    from medley.lm.score_model import ScoreModel

    found = find_reward_model(registry, name, may_open_paths=may_open_paths)
    for warning in warnings_of([found]):
        emit("warning", text=warning)
    version = base_of(registry, found) if base is None else find_base(registry, base)
    if found.base is not None and not belongs_to(found, version):
        chosen = identity_of(version)[0]
        raise IncompatibleError(f"'{found.label}' was trained on {found.base}, but the chosen base is {chosen}.")
    folder = base_folder(registry, version, emit)
    emit("progress", step=0, total=0, text=f"Loading {version.name}")
    return ModelScorer(found.label, ScoreModel.open(folder, found.folder, quant=quant, device=device))


def find_reward_model(registry: "Registry", name: str, *, may_open_paths: bool = True) -> FoundAdapter:
    """The reward model that a reference means.

    Raises:
        ParameterError: it is another kind of adapter.
        NotFoundError, AdapterFormatError, …: as `find_adapter`.
    """
    found = find_adapter(registry, name, may_open_paths=may_open_paths)
    if not found.is_reward_model:
        raise ParameterError(
            f"'{name}' writes answers and cannot score any. Train a reward model with: medley train reward"
        )
    return found


class ScorerPool:
    """The one scorer that a process keeps in memory; another one takes the place of the last."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._key, self._scorer = "", None

    def get(self, registry: "Registry", name: str, emit: Emit = ignore_event) -> Scorer:
        """The scorer of that name; arguments and errors as in `open_scorer`, with this pool's settings."""
        from trainers.rewards import REWARDS

        is_function = name.partition(":")[0] in REWARDS
        may_open_paths = self.settings.get("may_open_paths", True)
        key = name if is_function else find_reward_model(registry, name, may_open_paths=may_open_paths).key
        with self._lock:
            if self._scorer is None or self._key != key:
                self._scorer = None  # the old one's memory goes first
                self._scorer = open_scorer(registry, name, emit=emit, **self.settings)
                self._key = key
            return self._scorer

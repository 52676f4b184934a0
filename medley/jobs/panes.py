"""Panes for chat and comparison: what a user writes in one, opened as blends on one base in one engine.

A pane is `base`, an adapter (`pirate`, `pirate:v2`, a path), a blend of several (`pirate=0.6+formal:v2=0.4`) or a
full model of the registry, which is then the base under all panes.
Adapters are known to the engine by their content, so that a name that moves never shows old weights.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medley.errors import ConflictError, IncompatibleError, ParameterError
from medley.events import Emit, ignore_event
from medley.jobs.artifacts import FoundAdapter, find_adapter, means_folder
from medley.jobs.base_names import belongs_to, identity_of, identity_text
from medley.jobs.bases import base_folder, base_of, find_base
from medley.jobs.hub_client import Token
from medley.jobs.shadows import warnings_of
from medley.lm.panes import Blend, Completion, Pane, PaneUpdate

if TYPE_CHECKING:
    from hub import Registry, Version
    from medley.jobs.desk import Jobs
    from medley.lm.engine import Engine
    from medley.lm.sampling import Sampling

BASE_WORD = "base"
MAX_RESIDENT_ADAPTERS = 32  # kept in the engine for a quick return; what panes use now is kept beyond that


def parse_pane(text: str) -> list[tuple[str, float]]:
    """The adapters of a pane with their weights; none for the base itself.

    "a" is a at weight 1, "a=0.6+b:v2=0.4" a blend, "base" the bare base.

    Raises:
        ParameterError: an empty part, or a weight that is no finite number.
    """
    if text.strip() == BASE_WORD:
        return []
    parts = []
    for part in text.split("+"):
        ref, equals, weight = part.strip().rpartition("=")
        ref = ref if equals else part.strip()
        if not ref:
            raise ParameterError(f"The pane {text!a} has an empty part. Write it like a=0.6+b=0.4, or base.")
        parts.append((ref, _weight(weight, text) if equals else 1.0))
    return parts


def _weight(word: str, text: str) -> float:
    try:
        weight = float(word)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise ParameterError(f"In the pane {text!a}, {word!a} is no weight. Write a number, such as a=0.6.")
    return weight


@dataclass(frozen=True)
class PanePlan:
    """Panes whose adapters were found and belong together; nothing is loaded yet.

    Attributes:
        labels: what to call each pane, as the user wrote it.
        blends: per pane, adapter key -> weight.
        adapters: by key, all that any pane uses.
        base: the one base under all of them.
    """

    labels: tuple[str, ...]
    blends: tuple[Mapping[str, float], ...]
    adapters: Mapping[str, FoundAdapter]
    base: "Version"


def plan_panes(
    registry: "Registry",
    texts: Sequence[str],
    *,
    base: str | None = None,
    may_open_paths: bool = True,
    token: Token = None,
) -> PanePlan:
    """Find what the panes name.

    Args:
        base: the base, for adapters that do not say theirs or when only `base` is asked; None for theirs, or the
            default.
        may_open_paths, token: as in `find_adapter`.

    Raises:
        NotFoundError, ParameterError, …: a pane that means nothing.
        IncompatibleError: adapters of different bases, or one that writes no answers.
    """
    from hub.reward_words import cannot

    models = [_full_model(registry, text, may_open_paths=may_open_paths) for text in texts]
    base = _one_model([model for model in models if model], registry, base)
    blends, adapters = [], {}
    for text, model in zip(texts, models, strict=True):
        blend: dict[str, float] = {}
        for ref, weight in parse_pane(text) if model is None else ():
            found = find_adapter(registry, ref, may_open_paths=may_open_paths, token=token)
            if found.is_reward_model:
                raise IncompatibleError(cannot(ref, "be asked"))
            adapters[found.key] = found
            blend[found.key] = blend.get(found.key, 0.0) + weight
        blends.append(blend)
    chosen = _common_base(registry, list(adapters.values()), base)
    return PanePlan(tuple(texts), tuple(blends), adapters, chosen)


def _full_model(registry: "Registry", text: str, *, may_open_paths: bool) -> "Version | None":
    """The registry's model or base that a pane names, alone and as it is; None for everything else."""
    parts = parse_pane(text)
    if len(parts) != 1 or parts[0][1] != 1 or (may_open_paths and means_folder(parts[0][0])):
        return None
    version = registry.get(parts[0][0]) if registry.exists(parts[0][0]) else None
    return version if version is not None and version.kind in ("model", "base") else None


def _one_model(models: Sequence["Version"], registry: "Registry", base: str | None) -> str | None:
    """The base under all panes: the model that some of them name, or else the chosen one."""
    chosen = [find_base(registry, base)] if base is not None and models else []
    named = {version.id: version.label for version in (*models, *chosen)}
    if len(named) > 1:
        names = " and ".join(f"'{label}'" for label in named.values())
        raise IncompatibleError(f"{names} are several full models, and one answers at a time. Ask them one by one.")
    return f"sha256:{next(iter(named))}" if named else base


def _common_base(registry: "Registry", adapters: list[FoundAdapter], ref: str | None) -> "Version":
    """The base of all adapters; one that does not say its base takes the chosen one."""
    is_chosen = ref is not None or not adapters
    base = find_base(registry, ref) if is_chosen else base_of(registry, adapters[0])
    for adapter in adapters:
        if adapter.base is not None and not belongs_to(adapter, base):
            other = "the chosen base is" if is_chosen else f"'{adapters[0].label}' on"
            raise IncompatibleError(
                f"Adapter '{adapter.label}' was trained on {identity_text(adapter.base, adapter.base_revision)}, "
                f"but {other} {identity_text(*identity_of(base))}. "
                f"Only adapters of one base can be compared."
            )
    return base


class OpenPanes:
    """Panes ready to answer.

    Attributes:
        labels, blends: as in the plan.
        plan: where they come from.
        engine: the engine that answers.
    """

    def __init__(self, plan: PanePlan, engine: "Engine") -> None:
        self.plan, self.engine = plan, engine
        self.labels, self.blends = plan.labels, plan.blends

    def stream(
        self,
        histories: Sequence[Sequence[Mapping[str, str]]],
        sampling: "Sampling",
        *,
        blends: Sequence[Blend] | None = None,
        should_stop: Callable[[int], bool] | None = None,
    ) -> Iterator[PaneUpdate]:
        """Every pane's answer to its own conversation, as it grows.

        Args:
            histories: a conversation per pane.
            blends: other weights than the panes were opened with (a moved slider), or weights by module; the same
                adapters.
            should_stop: asked with a pane's index before each token; True ends that pane.
        """
        self.load()
        panes = self._panes(histories, blends)
        if should_stop is None:
            return self.engine.stream(panes, sampling)
        return self.engine.stream(panes, sampling, should_stop=should_stop)

    def generate(self, histories: Sequence[Sequence[Mapping[str, str]]], sampling: "Sampling") -> list[Completion]:
        """Every pane's whole answer."""
        self.load()
        return self.engine.generate(self._panes(histories, None), sampling)

    def _panes(self, histories: Sequence[Sequence[Mapping[str, str]]], blends: Sequence[Blend] | None) -> list[Pane]:
        chosen = self.blends if blends is None else blends
        return [Pane(tuple(history), dict(blend)) for history, blend in zip(histories, chosen, strict=True)]

    def close(self) -> None:
        """Give the engine's memory back; not for an engine that a pool shares."""
        self.engine.close()

    def load(self) -> None:
        """All adapters into the engine; those that another page has pushed out come back."""
        for key, adapter in self.plan.adapters.items():
            self.engine.add(key, adapter.folder)
        spare = [key for key in self.engine.keys if key not in self.plan.adapters]
        for key in spare[: max(0, len(self.engine.keys) - MAX_RESIDENT_ADAPTERS)]:
            self.engine.remove(key)


class EnginePool:
    """The one engine that a process keeps in memory; another base takes the place of the last.

    Args:
        jobs: whose trainings have a claim on the GPU; None for a process that trains nothing.
        quant, device: as in `medley.lm.load.choose_device`.
    """

    def __init__(self, jobs: "Jobs | None" = None, *, quant: str | None = None, device: str | None = None) -> None:
        self.jobs, self.quant, self.device = jobs, quant, device
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._base_id = ""

    def get(self, registry: "Registry", base: "Version", emit: Emit = ignore_event) -> "Engine":
        """The engine on this base, loaded if it is not there yet.

        Raises:
            ConflictError: a training has the GPU.
            BaseModelError, HubError, …: the base cannot be had.
        """
        with self._lock:
            training = self._training_on_gpu()
            if training is not None:
                self._close()
                raise ConflictError(f"Job '{training}' is training on the GPU. Wait for it to end, or stop it.")
            if self._engine is None or self._base_id != base.id:
                self._close()
                self._engine = self._load(registry, base, emit)
                self._base_id = base.id
            return self._engine

    def make_room(self) -> bool:
        """Give the GPU's memory back before a training starts there; whether anything was there to give."""
        with self._lock:
            if self._engine is None or self._engine.base.device.name != "cuda":
                return False
            self._close()
            return True

    def close(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._close()

    def _load(self, registry: "Registry", base: "Version", emit: Emit) -> "Engine":
        from medley.lm.engine import Engine
        from medley.lm.load import load_base

        folder = base_folder(registry, base, emit)
        emit("progress", step=0, total=0, text=f"Loading {base.name}")
        return Engine(load_base(folder, quant=self.quant, device=self.device))

    def _training_on_gpu(self) -> str | None:
        """The job that trains on this process's GPU; chatting on a CPU disturbs nobody's training."""
        if self.jobs is None or self.device == "cpu":
            return None
        active: list[Any] = self.jobs.list(None, ("running", "stopping"))
        return next((job.id for job in active if job.lane == "train:cuda"), None)

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine, self._base_id = None, ""


def open_panes(
    registry: "Registry",
    texts: Sequence[str],
    *,
    base: str | None = None,
    pool: EnginePool | None = None,
    may_open_paths: bool = True,
    token: Token = None,
    emit: Emit = ignore_event,
) -> OpenPanes:
    """The panes, found, loaded and ready to answer; arguments and errors as in `plan_panes` and `EnginePool.get`."""
    plan = plan_panes(registry, texts, base=base, may_open_paths=may_open_paths, token=token)
    for warning in warnings_of(plan.adapters.values()):
        emit("warning", text=warning)
    panes = OpenPanes(plan, (pool or EnginePool()).get(registry, plan.base, emit))
    panes.load()  # a damaged adapter is told now, not at the first question
    return panes

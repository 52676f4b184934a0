"""Specs made from what a user says: names resolved to ids, options written out, everything cheap checked first.

Nothing is queued while a spec has problems, and they are told all at once. Options are those of the trainers' and
merge methods' own tables; here is only what needs the registry.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medley.errors import (
    IncompatibleError,
    InvalidNameError,
    NotFoundError,
    ParameterError,
    ProblemsError,
    RecipeError,
    UserError,
)
from medley.jobs.base_names import belongs_to, identity_of
from medley.jobs.bases import base_of, find_base
from medley.jobs.device import likely_device
from medley.jobs.estimate import check_can_fit
from medley.jobs.spec import JobSpec, plain
from medley.jobs.train_checks import check_running, check_shape, check_start, find_data, find_reward, sizes_of
from medley.options import from_mapping, unknown_key

if TYPE_CHECKING:
    from hub import Registry, Version
    from trainers import Trainer

FoundT = TypeVar("FoundT")
TRAIN_RECIPE_KEYS = ("trainer", "base", "data", "name", "from", "options")


class ProblemList:
    """Collects what several checks find, so that all of it can be told together."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def attempt(self, check: Callable[..., FoundT], *arguments: Any) -> FoundT | None:
        """What the check gives, or None once its problems are noted."""
        try:
            return check(*arguments)
        except ProblemsError as error:
            self.found += error.problems
        except UserError as error:
            self.found.append(str(error))
        return None

    def report(self, subject: str) -> None:
        """Raises ProblemsError if anything was found."""
        if self.found:
            raise ProblemsError(subject, list(dict.fromkeys(self.found)))


def check_output_name(registry: "Registry", name: str, kind: str) -> None:
    """Nothing, if a version of this kind may be published under the name.

    Raises:
        InvalidNameError: it cannot be used, or belongs to another kind.
    """
    from hub.names import check_name

    check_name(name)
    taken = registry.kind_of(name)
    if taken not in (None, kind):
        raise InvalidNameError(f"The name '{name}' belongs to a version of kind {taken}. Choose another one.")


def train_spec(
    registry: "Registry",
    trainer: str,
    *,
    base: str | None = None,
    data: str,
    name: str,
    init: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> JobSpec:
    """The spec of a training.

    Args:
        trainer: a name in `trainers.TRAINERS`.
        base: a registered base; None for the base of `init`, else the default base.
        data: a dataset version.
        name: the registry name that the adapter will be a version of.
        init: an adapter version to continue from.
        options: the trainer's options that are not at their defaults.

    Raises:
        ProblemsError: everything that is wrong.
        MemoryLimitError: this machine has less memory than it needs; says what would fit.
    """
    from trainers import TRAINERS
    from trainers.start_shape import shaped_by_start

    if trainer not in TRAINERS:
        raise ParameterError(f"There is no trainer '{trainer}'. Known: {', '.join(TRAINERS)}.")
    row, problems = TRAINERS[trainer], ProblemList()
    problems.attempt(check_output_name, registry, name, "adapter")
    start = problems.attempt(registry.get, init, "adapter") if init else None
    is_base_known = base is not None or start or init is None  # a start that is not found tells no base
    base_version = problems.attempt(_find_base, registry, base, start) if is_base_known else None
    data_version = problems.attempt(find_data, registry, data, row.data_kinds, trainer)
    chosen = problems.attempt(from_mapping, row.options_class, options or {})
    others = {ref: problems.attempt(find_reward, registry, ref) for ref in (row.adapters_in(chosen) if chosen else ())}
    if chosen:
        problems.attempt(check_running, row, chosen)
    if start:
        problems.attempt(check_start, start, row)
    for version in filter(None, (start, *others.values())):
        problems.attempt(_check_belongs, version, base_version)
    facts = sizes_of(registry, base_version) if base_version else None
    if chosen and (start or not init):
        problems.attempt(check_shape, row, options or {}, chosen, facts, start)
    problems.report("the training")
    shaped = shaped_by_start(chosen, start.path, facts) if start else chosen
    params = _train_params(row, shaped, base_version, data_version, start, others)
    spec = JobSpec("train", f"Train {name} ({trainer}) on {data_version.label}", params, name)
    if chosen.check_memory:
        check_can_fit(registry, spec)
    return spec


def _train_params(
    row: "Trainer",
    options: Any,
    base: "Version",
    data: "Version",
    start: "Version | None",
    others: Mapping[str, "Version"],
) -> dict[str, Any]:
    """Inputs by content, every option written out, and what people call the inputs."""
    pinned = {ref: f"sha256:{version.id}" for ref, version in others.items()}
    settled = row.settled(row.with_adapters(options, pinned), start.path if start else None)
    values = plain(dataclasses.asdict(settled))
    inputs = {"base": base, "data": data, **({"init": start} if start else {})}
    labels = {role: version.label for role, version in inputs.items()}
    return {
        "trainer": row.name,
        "base": base.id,
        "data": data.id,
        "init": start.id if start else None,
        "adapters": list(pinned.values()),
        "labels": labels | {f"sha256:{version.id}": version.label for version in others.values()},
        "options": values,
        "device": likely_device(values.get("device", "auto")),
    }


def _find_base(registry: "Registry", base: str | None, start: "Version | None") -> "Version":
    return base_of(registry, start) if base is None and start else find_base(registry, base)


def _check_belongs(adapter: "Version", base: "Version | None") -> None:
    if base and not belongs_to(adapter, base):
        raise IncompatibleError(
            f"{adapter.label} was trained on {adapter.base}, but the base is {identity_of(base)[0]}. "
            "Leave out --base, or choose another adapter."
        )


def train_recipe_spec(registry: "Registry", recipe: Mapping[str, Any] | Path) -> JobSpec:
    """The spec of a training that a recipe describes: the YAML that is kept beside every trained adapter.

    Raises:
        RecipeError: not readable, or a key is missing or unknown.
        ProblemsError: what `train_spec` finds.
    """
    values = recipe if isinstance(recipe, Mapping) else _read_yaml(recipe)
    problems = [unknown_key(str(key), TRAIN_RECIPE_KEYS) for key in values if key not in TRAIN_RECIPE_KEYS]
    problems += [f"'{key}' is missing." for key in ("trainer", "data", "name") if not values.get(key)]
    if not isinstance(values.get("options") or {}, Mapping):
        problems.append("'options' must be a mapping from names to values.")
    if problems:
        raise ProblemsError("the recipe", problems)
    return train_spec(
        registry,
        values["trainer"],
        base=values.get("base"),
        data=values["data"],
        name=values["name"],
        init=values.get("from"),
        options=values.get("options"),
    )


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no recipe {str(path)!a}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path.name} cannot be read as YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(values, Mapping):
        raise RecipeError(f"{path.name} is not a recipe: it must be a YAML mapping with trainer, data and name.")
    return values

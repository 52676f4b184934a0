"""The spec of a merge whose weights are learned: adapters, base and dataset by content, options written out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medley.jobs.bases import find_base
from medley.jobs.build import ProblemList
from medley.jobs.build_merge import merge_spec
from medley.jobs.device import likely_device
from medley.jobs.spec import JobSpec, plain
from medley.jobs.train_checks import find_measured_data
from medley.options import from_mapping

if TYPE_CHECKING:
    from hub import Registry, Version


def learn_weights_spec(
    registry: "Registry",
    adapters: Sequence[str],
    *,
    data: str,
    name: str,
    base: str | None = None,
    options: Mapping[str, Any] | None = None,
    may_open_paths: bool = True,
) -> JobSpec:
    """The spec of a merge by `task_arithmetic` whose weights are learned from a dataset.

    Args:
        adapters: two or more, of one base, each once.
        data: an SFT dataset with an eval split.
        name: the registry name that the merged adapter will be a version of.
        base: a registered base; None for the one the adapters name.
        options: those of `trainers.weight_options.WeightOptions` that are not at their defaults.

    Raises:
        ProblemsError: everything that is wrong.
    """
    from merging import recipe_from_weights
    from trainers.weight_options import WeightOptions

    problems = ProblemList()
    chosen = problems.attempt(from_mapping, WeightOptions, options or {})
    data_version = problems.attempt(find_measured_data, registry, data, "Weights are learned from")
    if len(set(adapters)) < 2 or len(set(adapters)) < len(adapters):
        problems.found.append("Weights are learned for two or more adapters, each named once.")
    recipe = recipe_from_weights("task_arithmetic", [(each, 1.0) for each in dict.fromkeys(adapters)])
    merged = problems.attempt(lambda: merge_spec(registry, recipe, name=name, may_open_paths=may_open_paths))
    base_version = problems.attempt(_find_base, registry, base, merged) if merged else None
    problems.report("learning the weights")
    params = {
        **merged.params,
        "base": base_version.id,
        "data": data_version.id,
        "options": plain(dataclasses.asdict(chosen)),
        "device": likely_device(chosen.device),
    }
    title = f"Learn the weights of {name} from {data_version.label}"
    return JobSpec("learn-weights", title, params, name)


def _find_base(registry: "Registry", base: str | None, merged: JobSpec) -> "Version":
    """The named base, or the one whose Hub id the adapters carry."""
    inputs = merged.params["inputs"].values()
    return find_base(registry, base or next((each["base"] for each in inputs if each["base"]), None))

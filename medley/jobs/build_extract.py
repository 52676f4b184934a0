"""The spec of an extraction: base and model found and pinned, their headers compared where they are at hand."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medley.jobs.bases import base_of, find_base
from medley.jobs.build import ProblemList, check_output_name
from medley.jobs.full_models import FoundModel, find_model
from medley.jobs.outlines import outlines, pinned_base
from medley.jobs.shadows import warnings_of
from medley.jobs.spec import JobSpec, plain
from medley.options import from_mapping

if TYPE_CHECKING:
    from hub import Registry, Version
    from merging import ExtractOptions, ExtractPreflight


@dataclass(frozen=True)
class ExtractPlan:
    """An extraction that could be queued.

    Attributes:
        base, model: what goes in.
        options: checked.
        findings: the preflight; None where either cannot be looked at yet.
        warnings: why not, where the Hub could not be asked; a folder that was taken though the registry has something
            of that name.
    """

    base: "Version"
    model: FoundModel
    options: "ExtractOptions"
    findings: "ExtractPreflight | None"
    warnings: tuple[str, ...] = ()


def plan_extract(
    registry: "Registry", model: str, *, base: str | None = None, options: Mapping[str, Any] | None = None
) -> ExtractPlan:
    """Find both models and compare what their headers tell, fetched where need be; for `--dry-run` as well.

    Args:
        model: a folder, a registered model or base, or a Hub id.
        base: a registered base; None for the one that a registered model says it was made from, else the default.
        options: those of `merging.ExtractOptions` that are not at their defaults.

    Raises:
        ProblemsError: what cannot be found or opened, and options out of range. What stands against the extraction
            itself is in `findings.problems`.
    """
    from merging import ExtractOptions, extract_preflight

    problems = ProblemList()
    chosen = problems.attempt(from_mapping, ExtractOptions, options or {})
    found = problems.attempt(find_model, registry, model)
    origin = problems.attempt(_find_base, registry, base, found)
    problems.report("the extraction")
    with outlines(registry, pinned_pair(origin, found.pinned)) as seen:
        problems.found += seen.problems
        problems.report("the extraction")
        can_be_compared = len(seen.folders) == 2
        findings = extract_preflight(seen.folders["base"], seen.folders["model"], chosen) if can_be_compared else None
    return ExtractPlan(origin, found, chosen, findings, (*warnings_of([found]), *seen.warnings))


def pinned_pair(base: "Version", model: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Both as `outlines` takes them, under "base" and "model"."""
    return {**pinned_base(base), "model": model}


def extract_spec(
    registry: "Registry",
    model: str,
    *,
    name: str,
    base: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> JobSpec:
    """The spec of an extraction; arguments as `plan_extract`.

    Args:
        name: the registry name that the adapter will be a version of.

    Raises:
        ProblemsError: everything that stands against it.
    """
    problems = ProblemList()
    problems.attempt(check_output_name, registry, name, "adapter")
    plan = problems.attempt(lambda: plan_extract(registry, model, base=base, options=options))
    if plan is not None and plan.findings is not None:
        problems.found += plan.findings.problems
    problems.report("the extraction")
    params = {
        "base": plan.base.id,
        "model": dict(plan.model.pinned),
        "options": plain(dataclasses.asdict(plan.options)),
        "warnings": warnings_of([plan.model]),
    }
    return JobSpec("extract", f"Extract {name} from {plan.model.label}", params, name)


def _find_base(registry: "Registry", base: str | None, model: FoundModel | None) -> "Version":
    made_from = model.version if model and model.version and model.version.kind == "model" else None
    if base is None and made_from is not None:
        return base_of(registry, made_from)
    return find_base(registry, base)

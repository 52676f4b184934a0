"""The spec of a conversion: the adapter found and pinned, and its base where the delta depends on it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medley.jobs.artifacts import FoundAdapter, find_adapter
from medley.jobs.bases import base_of
from medley.jobs.build import ProblemList, check_output_name
from medley.jobs.outlines import outlines, pinned_base
from medley.jobs.pinned_adapters import pinned
from medley.jobs.shadows import warnings_of
from medley.jobs.spec import JobSpec, plain
from medley.options import from_mapping

if TYPE_CHECKING:
    from hub import Registry, Version
    from merging import ConvertOptions, ConvertPreflight


@dataclass(frozen=True)
class ConvertPlan:
    """A conversion that could be queued.

    Attributes:
        adapter: what is converted.
        options: checked.
        base: its base where the weights of that are needed, else None.
        findings: the preflight; None where the base is needed and cannot be looked at yet.
        warnings: why not, where the Hub could not be asked; a folder that was taken though the registry has something
            of that name.
    """

    adapter: FoundAdapter
    options: "ConvertOptions"
    base: "Version | None"
    findings: "ConvertPreflight | None"
    warnings: tuple[str, ...] = ()


def plan_convert(registry: "Registry", ref: str, *, options: Mapping[str, Any] | None = None) -> ConvertPlan:
    """Find the adapter and look at all that headers tell, a base's fetched where need be; for `--dry-run` as well.

    Args:
        ref: a path, a registry name or a Hub id.
        options: those of `merging.ConvertOptions` that are not at their defaults.

    Raises:
        ProblemsError: what cannot be found, and options out of range. What stands against the conversion itself is in
            `findings.problems`.
    """
    from merging import ConvertOptions, convert_preflight

    problems = ProblemList()
    chosen = problems.attempt(from_mapping, ConvertOptions, options or {})
    adapter = problems.attempt(find_adapter, registry, ref)
    base = problems.attempt(_needed_base, registry, adapter) if adapter else None
    problems.report("the conversion")
    with outlines(registry, pinned_base(base) if base else {}) as seen:
        problems.found += seen.problems
        problems.report("the conversion")
        folder = seen.folders.get("base")
        was_seen = base is None or folder is not None
        findings = convert_preflight(adapter.folder, chosen, base=folder, name=adapter.label) if was_seen else None
    return ConvertPlan(adapter, chosen, base, findings, (*warnings_of([adapter]), *seen.warnings))


def convert_spec(registry: "Registry", ref: str, *, name: str, options: Mapping[str, Any] | None = None) -> JobSpec:
    """The spec of a conversion; other arguments as `plan_convert`.

    Args:
        name: the registry name that the plain LoRA will be a version of.

    Raises:
        ProblemsError: everything that stands against it.
    """
    problems = ProblemList()
    problems.attempt(check_output_name, registry, name, "adapter")
    plan = problems.attempt(lambda: plan_convert(registry, ref, options=options))
    if plan is not None and plan.findings is not None:
        problems.found += plan.findings.problems
    problems.report("the conversion")
    params = {
        "adapter": pinned(plan.adapter),
        "base": plan.base.id if plan.base else None,
        "options": plain(dataclasses.asdict(plan.options)),
        "warnings": warnings_of([plan.adapter]),
    }
    return JobSpec("convert", f"Convert {plan.adapter.label} to plain LoRA {name}", params, name)


def _needed_base(registry: "Registry", adapter: FoundAdapter) -> "Version | None":
    from medley.lm.adapter_file import open_adapter
    from merging.converting.check import needs_base

    return base_of(registry, adapter) if needs_base(open_adapter(adapter.folder)) else None

"""The spec of a fold: adapters and their base found and pinned, everything that headers tell checked first."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medley.errors import IncompatibleError
from medley.jobs.artifacts import FoundAdapter, find_adapter
from medley.jobs.base_names import identity_of, identity_text
from medley.jobs.bases import base_of
from medley.jobs.build import ProblemList, check_output_name
from medley.jobs.outlines import outlines, pinned_base
from medley.jobs.pinned_adapters import pinned
from medley.jobs.shadows import warnings_of
from medley.jobs.spec import JobSpec

if TYPE_CHECKING:
    from hub import Registry, Version
    from merging import FoldInput, FoldPlan

Blend = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class FoldSetup:
    """A fold that could be queued.

    Attributes:
        base: what the adapters are folded into.
        adapters: each with its weight.
        findings: what would be made, or what stands against it.
        was_seen: False where the base cannot be looked at yet; then only the adapters were.
        warnings: why not, where the Hub could not be asked; folders that were taken though the registry has something
            of that name.
    """

    base: "Version"
    adapters: tuple[tuple[FoundAdapter, float], ...]
    findings: "FoldPlan"
    was_seen: bool
    warnings: tuple[str, ...] = ()


def set_up_fold(
    registry: "Registry",
    blend: Blend,
    *,
    out: Path | None = None,
    dtype: str | None = None,
    untie: bool = False,
) -> FoldSetup:
    """Find what a fold names and look at all that can be known without reading weights; for `--dry-run` as well.

    Of a base on the Hub, configuration, tokenizer and headers are fetched for as long as this takes.

    Args:
        blend: (adapter, weight): paths, registry names or Hub ids, all of one base.
        out: where the model is to go; None for the registry alone.
        dtype, untie: as in `merging.fold`.

    Raises:
        ProblemsError: adapters or a base that cannot be found. What stands against the fold itself is in
            `findings.problems`.
    """
    from merging import plan_fold

    problems = ProblemList()
    found = [(problems.attempt(find_adapter, registry, ref), weight) for ref, weight in blend]
    adapters = tuple((adapter, weight) for adapter, weight in found if adapter is not None)
    base = problems.attempt(_common_base, registry, [adapter for adapter, _ in adapters]) if adapters else None
    if len(adapters) < len(found):  # what stands against the others is to be said with it
        problems.found += [problem for adapter, _ in adapters for problem in _delta_problems(adapter)]
    problems.report("the fold")
    with outlines(registry, pinned_base(base)) as seen:
        findings = plan_fold(seen.folders.get("base"), fold_inputs(adapters), out, dtype=dtype, untie=untie)
    findings = dataclasses.replace(findings, problems=(*seen.problems, *findings.problems))
    warnings = (*warnings_of(adapter for adapter, _ in adapters), *seen.warnings)
    return FoldSetup(base, adapters, findings, "base" in seen.folders, warnings)


def fold_spec(
    registry: "Registry",
    blend: Blend,
    *,
    out: Path | None = None,
    name: str | None = None,
    dtype: str | None = None,
    shard_bytes: int | None = None,
    untie: bool = False,
) -> JobSpec:
    """The spec of a fold; other arguments as `set_up_fold`.

    Args:
        out: the folder that the model is written to; with a name it may be None.
        name: the registry name that the model will be a version of; None to register nothing.
        shard_bytes: no weights file is larger; the default of `merging.fold` when None.

    Raises:
        ProblemsError: everything that stands against it.
    """
    problems = ProblemList()
    if name is not None:
        problems.attempt(check_output_name, registry, name, "model")
    setup = problems.attempt(lambda: set_up_fold(registry, blend, out=out, dtype=dtype, untie=untie))
    if setup is not None:
        problems.found += setup.findings.problems
    problems.report("the fold")
    params = {
        "base": setup.base.id,
        "inputs": [{**pinned(adapter), "weight": float(weight)} for adapter, weight in setup.adapters],
        "out": str(out.absolute()) if out else None,
        "dtype": dtype,
        "shard_bytes": shard_bytes,
        "untie": untie,
        "warnings": warnings_of(adapter for adapter, _ in setup.adapters),
    }
    labels = " + ".join(adapter.label for adapter, _ in setup.adapters)
    return JobSpec("fold", f"Fold {labels} into {setup.base.label}", params, name or "")


def _delta_problems(adapter: FoundAdapter) -> Iterator[str]:
    from medley.lm.adapter_file import open_adapter
    from merging.checks.delta_check import delta_problems

    return delta_problems(adapter.label, open_adapter(adapter.folder))


def fold_inputs(adapters: Sequence[tuple[FoundAdapter, float]]) -> "list[FoldInput]":
    """The adapters as `merging.fold` takes them."""
    from merging import FoldInput

    return [FoldInput(adapter.folder, weight, adapter.label) for adapter, weight in adapters]


def _common_base(registry: "Registry", adapters: Sequence[FoundAdapter]) -> "Version":
    """The base that all adapters say they belong to.

    Raises:
        BaseModelError: an adapter does not say its base, or it is not registered here.
        IncompatibleError: they belong to different ones.
    """
    bases = [base_of(registry, adapter) for adapter in adapters]
    for adapter, base in zip(adapters, bases, strict=True):
        if identity_of(base) != identity_of(bases[0]):
            names = [identity_text(*identity_of(each)) for each in (bases[0], base)]
            raise IncompatibleError(
                f"Adapter '{adapters[0].label}' was trained on {names[0]}, but '{adapter.label}' on {names[1]}. "
                "Only adapters of one base can be folded together."
            )
    return bases[0]

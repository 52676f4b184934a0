"""The spec of a merge: its inputs found and pinned by content, its recipe written so that no local path is in it."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medley.errors import ProblemsError, UserError
from medley.jobs.artifacts import FoundAdapter, find_adapter, find_base
from medley.jobs.base_names import identity_of
from medley.jobs.build import ProblemList, check_output_name
from medley.jobs.merge_inputs import input_warnings
from medley.jobs.pinned_adapters import pinned
from medley.jobs.spec import JobSpec

if TYPE_CHECKING:
    from hub import Registry
    from merging import Diagnosis, Preflight, Recipe


@dataclass(frozen=True)
class MergePlan:
    """A merge that could be queued.

    Attributes:
        recipe: with inputs named by content: `sha256:<id>` for a version, a folder's name or Hub id for others.
        inputs: what the recipe's names stand for.
        findings: the preflight: problems, warnings, ranks and size.
    """

    recipe: "Recipe"
    inputs: Mapping[str, FoundAdapter]
    findings: "Preflight"


def plan_merge(registry: "Registry", recipe: Any, *, may_open_paths: bool = True) -> MergePlan:
    """Find the inputs of a recipe and look at all that can be known without reading weights; for `--dry-run` as well.

    Args:
        recipe: a mapping, a path, YAML text or a parsed recipe; its models are paths, registry names or Hub ids.
        may_open_paths: False where strangers write the recipe (the app).

    Raises:
        ProblemsError: inputs that cannot be found, or a recipe with errors. What stands against the merge itself is
            in `findings.problems`.
    """
    from merging import parse_recipe, preflight

    parsed = _with_known_base(registry, parse_recipe(recipe))
    problems = ProblemList()
    found = {
        ref: problems.attempt(lambda ref=ref: find_adapter(registry, ref, may_open_paths=may_open_paths))
        for ref in parsed.models
    }
    problems.report("the merge")
    names = {ref: _name_in_recipe(adapter, list(found.values())) for ref, adapter in found.items()}
    inputs = {names[ref]: adapter for ref, adapter in found.items()}
    pinned = parsed.with_models(names.__getitem__)
    labels = {str(adapter.folder): adapter.label for adapter in inputs.values()}
    findings = preflight(pinned.with_models(lambda name: str(inputs[name].folder)), names=labels)
    known = {adapter.label: adapter.version.metadata if adapter.version else {} for adapter in inputs.values()}
    findings = dataclasses.replace(findings, warnings=(*findings.warnings, *input_warnings(known)))
    return MergePlan(pinned, inputs, findings)


def merge_preflight(registry: "Registry", recipe: Any, *, may_open_paths: bool = True) -> "Preflight":
    """What stands against a merge of registry names, and what it would make; arguments and errors as `plan_merge`."""
    return plan_merge(registry, recipe, may_open_paths=may_open_paths).findings


def diagnose_plan(plan: MergePlan) -> "Diagnosis":
    """Likeness, norms, conflicts, spectrum and cost of a planned merge; reads its inputs' weights once.

    Raises:
        ProblemsError: everything that stands against the merge, or inputs that hold NaN or Infinity.
    """
    from merging import diagnose

    recipe = plan.findings.recipe
    if recipe is None:
        raise ProblemsError("the merge", plan.findings.problems)
    return diagnose(recipe, found=plan.findings)


def merge_spec(registry: "Registry", recipe: Any, *, name: str, may_open_paths: bool = True) -> JobSpec:
    """The spec of a merge.

    Args:
        recipe: as `plan_merge` takes it.
        name: the registry name that the merged adapter will be a version of.

    Raises:
        ProblemsError: everything that stands against it.
    """
    problems = ProblemList()
    problems.attempt(check_output_name, registry, name, "adapter")
    plan = problems.attempt(lambda: plan_merge(registry, recipe, may_open_paths=may_open_paths))
    if plan is not None:
        problems.found += plan.findings.problems
    problems.report("the merge")
    inputs = {model: pinned(adapter) for model, adapter in plan.inputs.items()}
    params = {"recipe": plan.recipe.to_mapping(), "inputs": inputs}
    labels = " + ".join(adapter.label for adapter in plan.inputs.values())
    return JobSpec("merge", f"Merge {name} ({plan.recipe.merge_method}) from {labels}", params, name)


def _with_known_base(registry: "Registry", recipe: "Recipe") -> "Recipe":
    """The recipe with the Hub id in place of a base's registry name: adapters know their base by its Hub id."""
    if recipe.base_model is None or recipe.method.is_ordered:
        return recipe
    try:
        base = identity_of(find_base(registry, recipe.base_model))[0]
    except UserError:
        return recipe  # an id or a folder that is not registered; preflight compares it with the adapters
    return _rename_base(recipe, lambda name: base if name == recipe.base_model else name)


def _rename_base(recipe: "Recipe", rename: Callable[[str], str]) -> "Recipe":
    slices = tuple(
        dataclasses.replace(
            part, sources=tuple(dataclasses.replace(source, model=rename(source.model)) for source in part.sources)
        )
        for part in recipe.slices
    )
    return dataclasses.replace(recipe, slices=slices, base_model=rename(str(recipe.base_model)))


def _name_in_recipe(adapter: FoundAdapter, others: list[FoundAdapter]) -> str:
    """What the recipe calls an input: the same for the same content, and without a path."""
    if adapter.version is not None:
        return f"sha256:{adapter.key}"
    is_shared = any(each.label == adapter.label and each.key != adapter.key for each in others)
    return f"{adapter.label}-{adapter.key[:8]}" if is_shared else adapter.label

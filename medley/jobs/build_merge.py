"""The spec of a merge: its inputs found and pinned by content, its recipe written so that no local path is in it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medley.errors import ProblemsError
from medley.jobs.artifacts import FoundAdapter
from medley.jobs.build import ProblemList, check_output_name
from medley.jobs.merge_inputs import input_warnings
from medley.jobs.outlines import outlines
from medley.jobs.pinned_adapters import pinned
from medley.jobs.recipe_inputs import RecipeInputs, find_inputs
from medley.jobs.spec import JobSpec

if TYPE_CHECKING:
    from hub import Registry
    from merging import Diagnosis, FullPreflight, FullRecipe, Preflight, Recipe
    from merging.recipes.documents import Document


@dataclass(frozen=True)
class MergePlan:
    """A merge that could be queued.

    Attributes:
        found: its documents, with inputs named by content, and what the names stand for.
        findings: the preflight of the result, with the problems and warnings of all documents.
    """

    found: RecipeInputs
    findings: "Preflight | FullPreflight"

    @property
    def documents(self) -> tuple["Document", ...]:
        return self.found.documents

    @property
    def recipe(self) -> "Recipe | FullRecipe":
        """That of the result: with several documents, the last one's."""
        return self.documents[-1].recipe

    @property
    def inputs(self) -> Mapping[str, FoundAdapter]:
        """The adapters, by their names in the recipe."""
        return self.found.adapters

    @property
    def can_be_diagnosed(self) -> bool:
        """True for a single merge of adapters: for others there are no deltas to look at yet."""
        return len(self.documents) == 1 and not self.found.models


def plan_merge(registry: "Registry", recipe: Any, *, may_open_paths: bool = True) -> MergePlan:
    """Find the inputs of a recipe and look at all that can be known without reading weights; for `--dry-run` as well.

    Of full models on the Hub, configuration, tokenizer and headers are fetched for as long as this takes.

    Args:
        recipe: a mapping, a list of mappings, a path, YAML text or a parsed recipe; its models are paths, registry
            names or Hub ids.
        may_open_paths: False where strangers write the recipe (the app).

    Raises:
        ProblemsError: inputs that cannot be found, or a recipe with errors. What stands against the merge itself is
            in `findings.problems`.
    """
    from merging import preflight_documents

    found = find_inputs(registry, recipe, may_open_paths=may_open_paths)
    with outlines(registry, found.pinned_models) as seen:
        looked = found.seen_in(seen.folders)
        folders = looked.folders
        documents = tuple(each.with_models(lambda name: folders.get(name, name)) for each in found.documents)
        findings = preflight_documents(documents, names=looked.labels, bases=looked.base_folders, absent=looked.absent)
    known = {adapter.label: adapter.version.metadata if adapter.version else {} for adapter in found.adapters.values()}
    warnings = (
        *found.shadow_warnings(),
        *findings.warnings,
        *seen.warnings,
        *found.pair_warnings(),
        *input_warnings(known),
    )
    problems = (*seen.problems, *findings.problems)
    return MergePlan(found, dataclasses.replace(findings, problems=problems, warnings=warnings))


def merge_preflight(registry: "Registry", recipe: Any, *, may_open_paths: bool = True) -> "Preflight | FullPreflight":
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


def live_weights(plan: MergePlan) -> dict[str, dict[str, float]] | None:
    """The planned merge as a blend for the engine: adapter key to module to weight; None where it is no such sum.

    Raises:
        ProblemsError: everything that stands against the merge.
        AdapterFormatError: an input holds NaN or Infinity.
    """
    from merging import module_weights

    weights = module_weights(plan.findings)
    if weights is None:
        return None
    return {plan.inputs[name].key: each for name, each in zip(plan.recipe.models, weights, strict=True)}


def merge_spec(registry: "Registry", recipe: Any, *, name: str, may_open_paths: bool = True) -> JobSpec:
    """The spec of a merge.

    Args:
        recipe: as `plan_merge` takes it.
        name: the registry name that the result will be a version of: an adapter or a full model.

    Raises:
        ProblemsError: everything that stands against it.
    """
    of_inputs, problems = ProblemList(), ProblemList()
    plan = of_inputs.attempt(lambda: plan_merge(registry, recipe, may_open_paths=may_open_paths))
    problems.attempt(check_output_name, registry, name, plan.documents[-1].makes if plan else "adapter")
    problems.found += [*of_inputs.found, *(plan.findings.problems if plan else ())]
    problems.report("the merge")
    found = plan.found
    mappings = [document.to_mapping() for document in found.documents]
    params = {
        "recipe": mappings[0] if len(mappings) == 1 else mappings,
        "inputs": {called: pinned(adapter) for called, adapter in found.adapters.items()},
        "models": {called: dict(model.pinned) for called, model in found.models.items()},
        "bases": {called: dict(model.pinned) for called, model in found.bases.items()},
        "warnings": found.shadow_warnings(),
    }
    labels = " + ".join(each.label for each in (*found.models.values(), *found.adapters.values()))
    return JobSpec("merge", f"Merge {name} ({plan.recipe.merge_method}) from {labels}", params, name)

"""Preflight: everything that can be known about a merge from the recipe, the configurations and the headers.

No weights are read, nothing is written, nothing is downloaded, torch is not loaded.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from medley.errors import ProblemsError, UserError
from medley.lm.adapter_file import CONFIG_FILE, AdapterFile, open_adapter
from merging.checks.added_tokens import token_findings
from merging.checks.compatibility import (
    adapter_problems,
    base_problems,
    joint_problems,
    short_names,
    warnings_of,
)
from merging.plan import ModulePlan, plan_modules
from merging.recipes.parameters import WITHOUT_EFFECT
from merging.recipes.parse import parse_recipe
from merging.recipes.recipe import Recipe

NAME_OF = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
BYTES_OF = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Preflight:
    """What was found. A merge with problems is refused; warnings are shown.

    Attributes:
        problems, warnings: one plain sentence each.
        recipe: parsed, or None when it could not be.
        adapters: what the result will call each input, and the opened input; only those that could be opened.
        modules: the plan, empty while there are problems.
        rank_plan: module name to the largest rank its result can have.
        dtype: of the result.
        estimated_bytes: the largest size that the result's weights can have; 0 where it is not known yet.
    """

    input_columns: ClassVar[tuple[str, ...]] = ("input", "rank", "modules", "base")
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    recipe: Recipe | None = None
    adapters: Mapping[str, AdapterFile] = field(default_factory=dict)
    modules: tuple[ModulePlan, ...] = ()
    rank_plan: Mapping[str, int] = field(default_factory=dict)
    dtype: str = "float32"
    estimated_bytes: int = 0

    def inputs(self) -> list[dict[str, Any]]:
        """Name, the ranks that occur, number of modules and base of each input, as plain values."""
        return [
            {
                "name": name,
                "ranks": sorted({module.rank for module in each.modules.values()}),
                "modules": len(each.modules),
                "base": each.config.base_model,
            }
            for name, each in self.adapters.items()
        ]

    def input_rows(self) -> list[tuple[str, str, str, str]]:
        """The same for a table under `input_columns`."""
        return [
            (each["name"], _ranks_text(each["ranks"]), str(each["modules"]), each["base"] or "")
            for each in self.inputs()
        ]

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON; None for what is not known yet."""
        return {
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "inputs": self.inputs(),
            "recipe": self.recipe.to_mapping() if self.recipe else None,
            "rank_plan": dict(self.rank_plan),
            "dtype": self.dtype if self.estimated_bytes else None,
            "estimated_bytes": self.estimated_bytes or None,
        }


def preflight(
    recipe: Mapping[str, Any] | Path | str | Recipe,
    out_dir: Path | None = None,
    *,
    names: Mapping[str, str] | None = None,
    known: Mapping[str, Any] | None = None,
) -> Preflight:
    """Everything that stands against the merge, and what it would make. Never raises for what a user can cause.

    Args:
        recipe: as `parse_recipe` takes it.
        out_dir: where the result is to go, to check the place and the free space; None leaves that out.
        names: what to call an input's folder in sentences and in the result; by default the end of its path.
        known: adapters that are not there yet, by the recipe's word for them.
    """
    try:
        parsed = parse_recipe(recipe)
    except ProblemsError as error:
        return Preflight(error.problems)
    except UserError as error:
        return Preflight((str(error),))
    names = _unique({**short_names(parsed.models, parsed.bases), **(names or {})}, parsed.models)
    adapters, problems = _open_all(parsed, names, known or {})
    if adapters:
        problems += joint_problems(adapters)
    token_problems, token_warnings = token_findings(adapters)
    base_findings, warnings = _base_findings(parsed, adapters, names)
    problems += token_problems + base_findings
    warnings += token_warnings
    if out_dir is not None:
        problems += place_problems(out_dir)
    plans: list[ModulePlan] = []
    if len(adapters) == len(parsed.models):
        plans, more_problems = plan_modules(parsed, list(adapters.values()))
        problems += more_problems + _rank_problems(parsed, plans, adapters)
    if problems:
        return Preflight(tuple(problems), tuple(warnings), parsed, adapters)
    return _outlook(parsed, out_dir, adapters, plans, warnings)


def _outlook(
    recipe: Recipe,
    out_dir: Path | None,
    adapters: Mapping[str, AdapterFile],
    plans: list[ModulePlan],
    warnings: list[str],
) -> Preflight:
    """What a merge that nothing stands against will make, if the disk has room for it."""
    opened = list(adapters.values())
    dtype = recipe.written_dtype or widest_dtype(opened)
    ranks = {plan.name: _largest_rank(recipe, plan, opened) for plan in plans}
    size = sum(ranks[plan.name] * (plan.out_features + plan.in_features) for plan in plans) * BYTES_OF[dtype]
    problems = space_problems(out_dir, size) if out_dir is not None else []
    warnings = [*warnings, *warnings_of(adapters), *_idle_warnings(recipe)]
    return Preflight(tuple(problems), tuple(warnings), recipe, adapters, tuple(plans), ranks, dtype, size)


def _ranks_text(ranks: list[int]) -> str:
    return "" if not ranks else str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]}-{ranks[-1]}"


def _unique(names: Mapping[str, str], models: tuple[str, ...]) -> dict[str, str]:
    """One name per input, also where one folder is written in two ways."""
    unique: dict[str, str] = {}
    for model in models:
        count = sum(1 for each in models[: models.index(model)] if names[each] == names[model])
        unique[model] = names[model] if not count else f"{names[model]} ({count + 1})"
    return unique


def _open_all(
    recipe: Recipe, names: Mapping[str, str], known: Mapping[str, Any]
) -> tuple[dict[str, AdapterFile], list[str]]:
    adapters: dict[str, AdapterFile] = {}
    problems: list[str] = []
    for model in recipe.models:
        if isinstance(known.get(model), AdapterFile):
            adapters[names[model]] = known[model]
            continue
        folder = Path(model).expanduser()
        if not os.path.isdir(folder):  # unlike Path.is_dir, False for a name that is too long
            problems.append(f"There is no adapter folder at '{model[:200]}'.")
            continue
        try:
            adapter = open_adapter(folder)
        except ProblemsError as error:
            problems += [f"'{names[model]}': {problem}" for problem in error.problems]
        except UserError as error:
            problems.append(f"'{names[model]}': {error}")
        else:
            adapters[names[model]] = adapter
            problems += adapter_problems(names[model], adapter)
    return adapters, problems


def _base_findings(
    recipe: Recipe, adapters: Mapping[str, AdapterFile], names: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Whether the bases that the recipe names are those of the adapters."""
    wanted = {}
    if recipe.base_model and recipe.base_model not in recipe.models:
        if (Path(recipe.base_model).expanduser() / CONFIG_FILE).is_file():
            return [
                f"base_model '{recipe.base_model}' is an adapter. For {recipe.merge_method} it must name the base."
            ], []
        wanted |= dict.fromkeys(adapters, (recipe.base_model, "base_model"))
    for source in (source for part in recipe.slices for source in part.sources):
        if source.base and names.get(source.model) in adapters:
            wanted[names[source.model]] = (source.base, f"the base in '{source.base}+…'")
    problems, warnings = [], []
    for name, (base, where) in wanted.items():
        found = base_problems(base, where, name, adapters[name])
        problems += found[0]
        warnings += found[1]
    return problems, warnings


def _rank_problems(recipe: Recipe, plans: list[ModulePlan], adapters: Mapping[str, AdapterFile]) -> list[str]:
    """Averaging factors needs factors of one shape."""
    if recipe.method.family != "factor":
        return []
    items = list(adapters.items())
    for plan in plans:
        ranks = {items[i][0]: items[i][1].modules[plan.name].rank for i in plan.inputs if i is not None}
        if len(set(ranks.values())) > 1:
            shown = ", ".join(f"'{name}' has rank {rank}" for name, rank in ranks.items())
            return [f"factor averages adapters of one rank, but in {plan.name} {shown}. Use linear, which is exact."]
    return []


def place_problems(out_dir: Path) -> list[str]:
    """Why the result cannot go there: something is there already, or there is no folder to put it in."""
    if out_dir.is_symlink() or (out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir()))):
        return [f"'{out_dir}' exists and is not an empty folder. Choose another place; nothing is overwritten."]
    return []


def space_problems(out_dir: Path, size_bytes: int) -> list[str]:
    """A result of that size must fit on the disk."""
    existing = next((parent for parent in out_dir.absolute().parents if parent.is_dir()), Path("/"))
    free = shutil.disk_usage(existing).free
    if size_bytes <= free:
        return []
    return [
        f"The result can take {_amount(size_bytes)}, but only {_amount(free)} are free at '{existing}'. "
        "Free some space there, or choose another place."
    ]


def _amount(size_bytes: int) -> str:
    unit, size = next((each for each in (("GB", 1e9), ("MB", 1e6)) if size_bytes >= each[1]), ("kB", 1e3))
    return f"{size_bytes / size:.1f} {unit}"


def widest_dtype(adapters: list[AdapterFile]) -> str:
    """The narrowest dtype that holds every input's values: float32 where float16 and bfloat16 meet."""
    dtypes = {tensor.dtype for adapter in adapters for tensor in adapter.tensors.values()}
    return NAME_OF[dtypes.pop()] if len(dtypes) == 1 else "float32"


def _largest_rank(recipe: Recipe, plan: ModulePlan, adapters: list[AdapterFile]) -> int:
    total = plan.rank_sum(adapters)
    if recipe.method.family == "concat":
        return total
    if recipe.method.family == "factor":
        return max(adapters[index].modules[plan.name].rank for index in plan.inputs if index is not None)
    most = min(total, plan.out_features, plan.in_features)
    if recipe.rank.kind == "energy" and recipe.method.family == "elementwise" and recipe.space == "delta":
        most = min(plan.out_features, plan.in_features)
    return min(most, int(recipe.rank.value)) if recipe.rank.kind == "at_most" else most


def _idle_warnings(recipe: Recipe) -> list[str]:
    """Parameters that are accepted for mergekit's sake and do nothing."""
    places = [*recipe.shared_parameters, *(part.parameters for part in recipe.slices)]
    places += [source.parameters for part in recipe.slices for source in part.sources]
    idle = [name for name in WITHOUT_EFFECT if any(name in parameters for parameters in places)]
    return [f"{name} only saves memory in mergekit; it changes nothing here." for name in idle]

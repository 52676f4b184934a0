"""Preflight of a whole recipe: each merge from headers, with what earlier ones will make standing in for files."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from medley.errors import ProblemsError, UserError
from medley.lm.adapter_config import AdapterConfig
from medley.lm.adapter_file import PREFIX, SUFFIX_A, SUFFIX_B, AdapterFile, LoraModule, TensorInfo
from medley.lm.model_file import ModelFile, open_model
from merging.check import BYTES_OF, Preflight, place_problems, preflight, space_problems
from merging.full_models.check import FullPreflight, Opened, absent_warnings, preflight_full
from merging.full_models.compatibility import adapter_shape_problems
from merging.full_models.recipe import FullRecipe
from merging.recipes.documents import parse_documents
from merging.recipes.recipe import Recipe

Found = Preflight | FullPreflight


def preflight_documents(
    recipe: Any,
    out_dir: Path | None = None,
    *,
    names: Mapping[str, str] | None = None,
    bases: Mapping[str, str] | None = None,
    absent: Collection[str] = (),
) -> Found:
    """What the last merge will make, with the problems and warnings of all of them.

    Args:
        recipe: as `merge` takes it, or its documents.
        out_dir: where the result is to go, to check the place and the free space; None leaves that out.
        names: what to call an input's folder.
        bases: folders of base models that adapters are folded into, where the recipe calls them otherwise.
        absent: full models that are fetched when the merge starts; what depends on their files is not looked at.

    Raises:
        NotFoundError, RecipeError, ProblemsError: it cannot be read as a recipe.
    """
    documents = parse_documents(recipe)
    problems, warnings = (place_problems(out_dir) if out_dir is not None else []), []
    known: dict[str, Opened] = {}
    size = 0
    for document in documents:
        found, result = _check_one(document.recipe, _Given(known, names or {}, bases or {}, absent))
        where = f"{document.name or 'the result'}: " if len(documents) > 1 else ""
        problems += [where + problem for problem in found.problems]
        warnings += [where + warning for warning in found.warnings]
        size += found.estimated_bytes
        if result is None:  # what uses it cannot be looked at before it is right, or here
            break
        known[document.name or ""] = result
    if out_dir is not None and not problems:
        problems += space_problems(out_dir, size)
    return dataclasses.replace(found, problems=tuple(problems), warnings=tuple(dict.fromkeys(warnings)))


@dataclasses.dataclass(frozen=True)
class _Given:
    """What is known besides a recipe: results of earlier merges, names for folders, folders for bases."""

    known: Mapping[str, Opened]
    names: Mapping[str, str]
    bases: Mapping[str, str]
    absent: Collection[str]


def _check_one(recipe: Recipe | FullRecipe, given: _Given) -> tuple[Found, Opened | None]:
    """What was found about one merge, and its result as far as headers go; None where there are problems."""
    if isinstance(recipe, FullRecipe):
        found: Found = preflight_full(recipe, names=given.names, known=given.known, absent=given.absent)
        return found, found.result() if found.tensors else None
    found = preflight(recipe, names=given.names, known=given.known)
    if recipe.output == "adapter" or found.problems:
        return found, None if found.problems else planned_adapter(found)
    return _check_fold(recipe, found, given)


def _check_fold(recipe: Recipe, found: Preflight, given: _Given) -> tuple[Preflight, ModelFile | None]:
    """Whether there is a base that the merged adapter can be folded into."""
    base = recipe.folded_base
    if base is None:
        problem = "output: model needs base_model: the model that the merged adapter is folded into."
        return dataclasses.replace(found, problems=(problem,)), None
    folder = given.bases.get(base, base)
    if folder in given.absent:  # whose size nobody knows yet
        return dataclasses.replace(_with_absent(found, [folder]), estimated_bytes=0), None
    try:
        model = given.known[base] if base in given.known else open_model(Path(folder).expanduser())
    except ProblemsError as error:
        return dataclasses.replace(found, problems=error.problems), None
    except UserError as error:
        return dataclasses.replace(found, problems=(str(error),)), None
    problems = adapter_shape_problems("the merged adapter", planned_adapter(found), Path(base).name, model)
    if model.is_quantized:
        problems.append(f"'{Path(base).name}' is quantised; an adapter is folded into weights in 16 or 32 bits only.")
    dtype = recipe.written_dtype or model.dtype or "float32"
    size = model.parameter_count * BYTES_OF[dtype]
    found = dataclasses.replace(found, problems=tuple(problems), dtype=dtype, estimated_bytes=size)
    return found, None if problems else model


def _with_absent(found: Preflight, absent: Collection[str]) -> Preflight:
    return dataclasses.replace(found, warnings=(*found.warnings, *absent_warnings(absent)))


def planned_adapter(found: Preflight) -> AdapterFile:
    """The adapter that a merge will make, as far as headers go."""
    first = next(iter(found.adapters.values()))
    modules, tensors = {}, {}
    for plan in found.modules:
        rank, keys = found.rank_plan[plan.name], (PREFIX + plan.name + SUFFIX_A, PREFIX + plan.name + SUFFIX_B)
        modules[plan.name] = LoraModule(plan.name, rank, plan.in_features, plan.out_features, 1.0, *keys)
        for key, shape in zip(keys, ((rank, plan.in_features), (plan.out_features, rank)), strict=True):
            dtype = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[found.dtype]
            tensors[key] = TensorInfo(key, dtype, shape, 0, shape[0] * shape[1] * BYTES_OF[found.dtype])
    return AdapterFile(first.folder, _planned_config(first.config), tensors, modules, ())


def _planned_config(first: AdapterConfig) -> AdapterConfig:
    """As the writer makes it: plain LoRA at scale 1, of the same base and task."""
    kept = ("peft_type", "task_type", "base_model_name_or_path", "revision")
    return dataclasses.replace(
        first,
        rank_pattern={},
        alpha_pattern={},
        use_rslora=False,
        init_lora_weights=True,
        raw={key: value for key, value in first.raw.items() if key in kept},
    )

"""Preflight of full models: everything that can be known of their merge from configurations and headers.

No weights are read, nothing is written, nothing is downloaded, neither torch nor mergekit is loaded.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from medley.errors import ProblemsError, UserError
from medley.lm.adapter_file import AdapterFile, open_adapter
from medley.lm.model_file import ModelFile, StoredTensor, open_model
from merging.check import BYTES_OF, place_problems, space_problems
from merging.checks.compatibility import adapter_problems, short_names
from merging.full_models.compatibility import (
    LAYER,
    adapter_shape_problems,
    joint_model_problems,
    model_problems,
    tokenizer_warnings,
)
from merging.full_models.recipe import FullRecipe
from merging.recipes.reference import Reference

Opened = ModelFile | AdapterFile


@dataclass(frozen=True)
class FullPreflight:
    """What was found. A merge with problems is refused; warnings are shown.

    Attributes:
        problems, warnings: one plain sentence each.
        recipe: checked.
        names: what sentences and the result call each input's folder.
        opened: the inputs that could be opened, by folder.
        dtype: of the result.
        tensors: of the result, with their sizes in `dtype`.
        folded_bytes: what models take that are made on the way, of a base and an adapter.
    """

    input_columns: ClassVar[tuple[str, ...]] = ("input", "dtype", "parameters", "architecture")
    problems: tuple[str, ...]
    recipe: FullRecipe
    warnings: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    opened: Mapping[str, Opened] = field(default_factory=dict)
    dtype: str = "float32"
    tensors: Mapping[str, StoredTensor] = field(default_factory=dict)
    folded_bytes: int = 0

    @property
    def estimated_bytes(self) -> int:
        """Of the result's weights."""
        return sum(tensor.size_bytes for tensor in self.tensors.values())

    def inputs(self) -> list[dict[str, Any]]:
        """What each input is, as plain values; dtype and architecture are a model's, and the base is an adapter's."""
        return [{"name": self.names[name], **_facts(opened)} for name, opened in self.opened.items()]

    def input_rows(self) -> list[tuple[str, str, str, str]]:
        """The same for a table under `input_columns`."""
        return [
            (
                each["name"],
                each["dtype"] or "",
                f"{each['parameters']:,}",
                each["architecture"] or f"adapter of {each['base'] or 'an unknown base'}",
            )
            for each in self.inputs()
        ]

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON; None for what is not known yet."""
        return {
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "inputs": self.inputs(),
            "recipe": self.recipe.with_models(lambda name: self.names.get(name, name)).to_mapping(),
            "dtype": self.dtype if self.tensors else None,
            "tensors": len(self.tensors) or None,
            "estimated_bytes": self.estimated_bytes or None,
        }

    def result(self) -> ModelFile:
        """The model that the merge will make, as far as headers go: what a later merge is checked with."""
        donor = self.opened[self.recipe.donor.model]
        return ModelFile(donor.folder, _result_config(self.recipe, donor), self.tensors)


def preflight_full(
    recipe: FullRecipe,
    out_dir: Path | None = None,
    *,
    names: Mapping[str, str] | None = None,
    known: Mapping[str, Opened] | None = None,
    absent: Collection[str] = (),
) -> FullPreflight:
    """Everything that stands against the merge, and what it would make. Never raises for what a user can cause.

    Args:
        recipe: its models are folders.
        out_dir: where the result is to go, to check the place and the free space; None leaves that out.
        names: what to call an input's folder; by default the end of its path.
        known: inputs that are not there yet, by the recipe's word for them.
        absent: models that are fetched when the merge starts; what depends on their files is not looked at.
    """
    names = {**short_names(recipe.models), **(names or {})}
    given = {model: opened for model, opened in (known or {}).items() if model in recipe.models}
    opened, problems = _open_all(recipe, names, given, absent)
    called = {each: "+".join(names[part] for part in each.names) for each in recipe.references}
    models = {each: opened[each.model] for each in recipe.references if isinstance(opened.get(each.model), ModelFile)}
    problems += _adapter_findings(models, opened, names)
    problems += joint_model_problems(recipe, models, called)
    if out_dir is not None:
        problems += place_problems(out_dir)
    missing = [names[model] for model in recipe.models if model in absent]
    found = FullPreflight(tuple(problems), recipe, absent_warnings(missing), names, opened)
    return found if problems or missing else _outlook(found, out_dir, models, called)


def absent_warnings(absent: Collection[str]) -> tuple[str, ...]:
    """What to say of models that are not on this machine."""
    return tuple(
        f"'{name}' is not on this machine. It is fetched when the merge starts, and compared with the others then."
        for name in absent
    )


def _outlook(
    found: FullPreflight, out_dir: Path | None, models: Mapping[Reference, ModelFile], called: Mapping[Reference, str]
) -> FullPreflight:
    """What a merge that nothing stands against will make, if the disk has room for it."""
    recipe = found.recipe
    dtype = recipe.written_dtype or widest_of(list(models.values()))
    tensors = {name: _in_dtype(tensor, name, dtype) for name, tensor in _result_tensors(recipe, models).items()}
    folded = sum(_size(model) for reference, model in models.items() if reference.lora is not None)
    found = replace(
        found,
        dtype=dtype,
        tensors=tensors,
        folded_bytes=folded,
        warnings=tuple(tokenizer_warnings(recipe, models, called)),
    )
    problems = space_problems(out_dir, found.estimated_bytes + folded) if out_dir is not None else []
    return replace(found, problems=tuple(problems))


def _open_all(
    recipe: FullRecipe, names: Mapping[str, str], opened: dict[str, Opened], absent: Collection[str]
) -> tuple[dict[str, Opened], list[str]]:
    problems: list[str] = []
    adapters = {reference.lora for reference in recipe.references}
    for model in recipe.models:
        if model in opened or model in absent:
            continue
        folder = Path(model).expanduser()
        if not folder.is_dir():
            problems.append(f"There is no {'adapter' if model in adapters else 'model'} folder at '{model}'.")
            continue
        try:
            opened[model] = open_adapter(folder) if model in adapters else open_model(folder)
        except ProblemsError as error:
            problems += [f"'{names[model]}': {problem}" for problem in error.problems]
        except UserError as error:
            problems.append(f"'{names[model]}': {error}")
        else:
            check = adapter_problems if model in adapters else model_problems
            problems += check(names[model], opened[model])
    return {model: opened[model] for model in recipe.models if model in opened}, problems


def _adapter_findings(
    models: Mapping[Reference, ModelFile], opened: Mapping[str, Opened], names: Mapping[str, str]
) -> list[str]:
    problems = []
    for reference, model in models.items():
        adapter = opened.get(reference.lora) if reference.lora is not None else None
        if isinstance(adapter, AdapterFile):
            problems += adapter_shape_problems(names[reference.lora], adapter, names[reference.model], model)
    return problems


def widest_of(models: list[ModelFile]) -> str:
    """The narrowest dtype that holds every model's values: float32 where float16 and bfloat16 meet."""
    dtypes = {model.dtype or "float32" for model in models}
    return dtypes.pop() if len(dtypes) == 1 else "float32"


def _result_tensors(recipe: FullRecipe, models: Mapping[Reference, ModelFile]) -> dict[str, StoredTensor]:
    """The donor's tensors; where the recipe has slices, as many layers as they have."""
    donor = models[recipe.donor].tensors
    parts = list(recipe.parts())
    if any(part.sources[0].layer_range is None for part in parts) or "modules" in recipe.body:
        return dict(donor)
    tensors = {name: tensor for name, tensor in donor.items() if not LAYER.fullmatch(name)}
    layer = 0
    for part in parts:
        source = part.sources[0]
        for index in range(*source.layer_range):
            for name, tensor in models[source.model].tensors.items():
                match = LAYER.fullmatch(name)
                if match and int(match[2]) == index:
                    tensors[f"{match[1]}{layer}{match[3]}"] = tensor
            layer += 1
    return tensors


def _result_config(recipe: FullRecipe, donor: ModelFile) -> dict[str, Any]:
    ranges = [part.sources[0].layer_range for part in recipe.parts()]
    height = sum(end - start for start, end in ranges) if all(ranges) else donor.config.get("num_hidden_layers")
    return {**donor.config, "num_hidden_layers": height}


def _in_dtype(tensor: StoredTensor, name: str, dtype: str) -> StoredTensor:
    size = tensor.element_count * BYTES_OF[dtype] if tensor.is_float else tensor.size_bytes
    word = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype] if tensor.is_float else tensor.dtype
    return replace(tensor, name=name, dtype=word, start=0, end=size)


def _size(model: ModelFile) -> int:
    return sum(tensor.size_bytes for tensor in model.tensors.values())


def _facts(opened: Opened) -> dict[str, Any]:
    is_model = isinstance(opened, ModelFile)
    return {
        "kind": "model" if is_model else "adapter",
        "dtype": opened.dtype if is_model else None,
        "parameters": opened.parameter_count,
        "architecture": (opened.config.get("architectures") or ["unknown"])[0] if is_model else None,
        "base": None if is_model else opened.config.base_model,
    }

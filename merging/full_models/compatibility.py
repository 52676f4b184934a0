"""Why full models cannot be merged with each other, from their configurations and headers: sentences, nothing else."""

import re
from collections.abc import Mapping

from medley.errors import BaseModelError
from medley.lm.adapter_file import AdapterFile
from medley.lm.model_file import ModelFile
from merging.full_models.recipe import FullRecipe
from merging.full_models.vocabulary import vocabulary_of
from merging.recipes.reference import Reference

LAYER = re.compile(r"(.*?\.)(\d+)(\..*)")
UNNEEDED = ("lm_head.weight", "rotary_emb.inv_freq")  # tied in some files and saved in others, or computed anyway
LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers")
Models = Mapping[Reference, ModelFile]
Shapes = Mapping[str, tuple[int, ...]]


def model_problems(name: str, model: ModelFile) -> list[str]:
    """Why this model alone cannot be merged."""
    problems = []
    if model.is_quantized:
        method = model.config["quantization_config"].get("quant_method", "some method")
        problems.append(f"'{name}' is quantised ({method}). Only weights in 16 or 32 bits can be merged.")
    if len(model.config.get("architectures") or []) != 1:
        problems.append(f"'{name}' does not say its architecture in config.json.")
    layers = {int(match[2]) for match in map(LAYER.fullmatch, model.tensors) if match}
    missing = next((layer for layer in range(layer_count(model) or 0) if layer not in layers), None)
    if missing is not None:
        problems.append(f"'{name}' has no layer {missing}, though its config.json says {layer_count(model)} layers.")
    try:
        vocabulary_of(model.folder)
    except BaseModelError as error:
        problems.append(f"'{name}': {error}")
    return problems


def adapter_shape_problems(name: str, adapter: AdapterFile, base_name: str, base: ModelFile) -> list[str]:
    """Whether the base has the modules that the adapter changes, in the adapter's sizes."""
    for module in adapter.modules.values():
        tensor = base.tensors.get(f"{module.name}.weight")
        if tensor is None and not (module.name == "lm_head" and base.is_tied):
            return [f"'{name}' changes {module.name}, which '{base_name}' does not have. It belongs to another model."]
        if tensor is not None and sorted(tensor.shape) != sorted((module.out_features, module.in_features)):
            sizes = f"{module.out_features} x {module.in_features}"
            return [f"'{name}' changes {module.name} as {sizes}, but in '{base_name}' it is {_shape(tensor.shape)}."]
    return []


def joint_model_problems(recipe: FullRecipe, models: Models, names: Mapping[Reference, str]) -> list[str]:
    """Why these models cannot be merged with each other: another architecture, other sizes, other layers."""
    first = recipe.donor
    if first not in models:
        return []
    problems = []
    for other, model in models.items():
        found = _pair_problems(models[first], model, names[first], names[other], recipe.has_own_tokenizer)
        problems += found if other != first else []
    return problems + layer_problems(recipe, models, names)


def _pair_problems(a: ModelFile, b: ModelFile, a_name: str, b_name: str, may_differ_in_tokens: bool) -> list[str]:
    kinds = [(each.config.get("architectures") or ["unknown"])[0] for each in (a, b)]
    if kinds[0] != kinds[1]:
        return [
            f"'{a_name}' is a {kinds[0]}, but '{b_name}' a {kinds[1]}. Only models of one architecture can be merged."
        ]
    if a.is_tied != b.is_tied:
        tied, other = (a_name, b_name) if a.is_tied else (b_name, a_name)
        return [
            f"'{tied}' has one matrix for embeddings and output layer, but '{other}' has two. They cannot be merged."
        ]
    views = [_templates(a), _templates(b)], [_shapes(a), _shapes(b)]
    for ours, theirs in views if layer_count(a) == layer_count(b) else views[:1]:
        problems = _name_problems(ours, theirs, a_name, b_name)
        problems = problems or _size_problems(ours, theirs, (a, a_name), (b, b_name), may_differ_in_tokens)
        if problems:
            return problems
    return []


def _name_problems(ours: Shapes, theirs: Shapes, a_name: str, b_name: str) -> list[str]:
    """Tensors that only one of them has."""
    missing = [name for name in ours if name not in theirs and not name.endswith(UNNEEDED)]
    if missing:
        return [f"'{b_name}' lacks {_count(missing)} that '{a_name}' has, the first is {missing[0]}."]
    extra = [name for name in theirs if name not in ours and not name.endswith(UNNEEDED)]
    return [f"'{b_name}' has {_count(extra)} that '{a_name}' lacks, the first is {extra[0]}."] if extra else []


def _count(tensors: list[str]) -> str:
    return "1 tensor" if len(tensors) == 1 else f"{len(tensors)} tensors"


def _size_problems(
    ours: Shapes,
    theirs: Shapes,
    a: tuple[ModelFile, str],
    b: tuple[ModelFile, str],
    may_differ_in_tokens: bool,
) -> list[str]:
    """Tensors of one name and two shapes; a longer vocabulary is what a recipe can do something about."""
    for name in ours:
        if ours[name] == theirs.get(name, ours[name]):
            continue
        rows = ours[name][0], theirs[name][0]
        is_vocabulary = ours[name][1:] == theirs[name][1:] and rows == (_vocabulary(a[0]), _vocabulary(b[0]))
        if is_vocabulary and may_differ_in_tokens:
            continue
        if is_vocabulary:
            return [
                f"'{a[1]}' has {rows[0]} tokens, but '{b[1]}' has {rows[1]}. "
                "Add tokenizer: {source: union} to keep all of them, or {source: base}."
            ]
        return [
            f"{name} is {_shape(ours[name])} in '{a[1]}', but {_shape(theirs[name])} in '{b[1]}'. "
            "Only models of one size can be merged."
        ]
    return []


def layer_problems(recipe: FullRecipe, models: Models, names: Mapping[Reference, str]) -> list[str]:
    """Layers that a model does not have; without slices, models of unequal height."""
    counts = {reference: layer_count(model) for reference, model in models.items()}
    problems = []
    for part in recipe.parts():
        used = [each for each in part.sources if counts.get(each.model) is not None]
        problems += [
            f"{part.where}: layer_range ends at {each.layer_range[1]}, but '{names[each.model]}' has "
            f"{counts[each.model]} layers."
            for each in used
            if each.layer_range and each.layer_range[1] > counts[each.model]
        ]
        heights = {counts[each.model]: names[each.model] for each in used if each.layer_range is None}
        if len(heights) > 1:
            said = ", ".join(f"'{name}' has {count}" for count, name in heights.items())
            problems.append(f"The models have different numbers of layers: {said}. Name the layers in slices.")
    return problems


def tokenizer_warnings(recipe: FullRecipe, models: Models, names: Mapping[Reference, str]) -> list[str]:
    """Tokenizers that differ, where the recipe does not say what to do about it."""
    if recipe.has_own_tokenizer or recipe.donor not in models:
        return []
    own, donor = vocabulary_of(models[recipe.donor].folder), names[recipe.donor]
    warnings = []
    for reference, model in models.items():
        other = vocabulary_of(model.folder)
        count = sum(1 for token in own.keys() | other.keys() if own.get(token) != other.get(token)) if other else 0
        if own and count:
            warnings.append(
                f"The tokenizers of '{donor}' and '{names[reference]}' differ in {count} tokens; the result gets that "
                f"of '{donor}'. Add tokenizer: {{source: union}} to keep all tokens."
            )
    return warnings


def layer_count(model: ModelFile) -> int | None:
    """How many layers the configuration says, or None where it says it in words unknown here."""
    places = (model.config, model.config.get("text_config") or {})
    return next((place[key] for place in places for key in LAYER_KEYS if type(place.get(key)) is int), None)


def _shapes(model: ModelFile) -> Shapes:
    return {name: tensor.shape for name, tensor in model.tensors.items()}


def _templates(model: ModelFile) -> Shapes:
    """Shapes by name, with all layers as one."""
    return {LAYER.sub(r"\1N\3", name, count=1): tensor.shape for name, tensor in model.tensors.items()}


def _vocabulary(model: ModelFile) -> int | None:
    return model.config.get("vocab_size") or (model.config.get("text_config") or {}).get("vocab_size")


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

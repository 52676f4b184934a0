"""From plain values to a Recipe of adapters, with everything that is wrong with it said at once.

The schema is mergekit's; what makes sense for full models only is refused with a sentence, never ignored. No adapter
is opened here: what only their files can tell is found by `preflight` (compatibility.py). Which recipes are of
adapters and which of full models is decided in documents.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medley.errors import ParameterError, ProblemsError, RecipeError
from medley.options import unknown_key
from merging import METHODS
from merging.full_models.methods import FULL_METHODS
from merging.method import SPACES, VARIANTS, Method
from merging.recipes.inputs import read_inputs, read_mapping
from merging.recipes.parameters import parameter_problems
from merging.recipes.recipe import DTYPES, RankRule, Recipe, Slice, Source, parse_rank
from merging.recipes.reference import parse_reference
from merging.recipes.yaml_text import read_documents

OUR_KEYS = ("output", "space", "rank", "seed", "variant")
MERGEKIT_KEYS = ("merge_method", "base_model", "models", "slices", "modules", "parameters", "dtype", "out_dtype")
FULL_MODEL_KEYS = {  # what an adapter has none of, and why
    "tokenizer": "An adapter leaves its base's tokenizer as it is",
    "tokenizer_source": "An adapter leaves its base's tokenizer as it is",
    "chat_template": "An adapter leaves its base's chat template as it is",
}


def parse_recipe(recipe: "Mapping[str, Any] | Path | str | Recipe") -> Recipe:
    """The checked recipe of adapters.

    Args:
        recipe: a mapping, a path, or YAML text (a str with a newline; without one it is a path).

    Raises:
        NotFoundError: there is no such file.
        RecipeError: it is not one YAML mapping.
        ProblemsError: everything that is wrong inside.
    """
    if isinstance(recipe, Recipe):
        return recipe
    subject, documents = read_documents(recipe)
    if len(documents) > 1:
        what = subject[:1].upper() + subject[1:]
        raise RecipeError(f"{what} has {len(documents)} documents, and here only one is expected.")
    problems: list[str] = []
    parsed = parse_adapters(documents[0], problems)
    if parsed is None:
        raise ProblemsError(subject, list(dict.fromkeys(problems)))
    return parsed


def parse_adapters(raw: Mapping[str, Any], problems: list[str]) -> Recipe | None:
    """The checked recipe, or None; what is wrong with it is added to `problems`."""
    before = len(problems)
    known = (*MERGEKIT_KEYS, *OUR_KEYS)
    problems += [unknown_key(str(key), known) for key in raw if key not in known and key not in FULL_MODEL_KEYS]
    problems += [
        f"{why}, so '{key}' makes sense for full models only. Remove it, or set output: model."
        for key, why in FULL_MODEL_KEYS.items()
        if raw.get(key) is not None
    ]
    method = _read_method(raw.get("merge_method"), problems)
    slices, module = read_inputs(raw, problems)
    settings = {
        "dtype": _one_of(raw, "dtype", DTYPES, problems),
        "out_dtype": _one_of(raw, "out_dtype", DTYPES, problems),
        "space": _read_space(raw, method, problems),
        "rank": _read_rank(raw, method, problems),
        "seed": _read_seed(raw, problems),
        "variant": _read_variant(raw, method, problems),
        "output": _one_of(raw, "output", ("adapter", "model"), problems) or "adapter",
        "module": module,
    }
    base_model = _read_base(raw.get("base_model"), problems)
    parameters = read_mapping(raw, "parameters", "", problems)
    if method is None:
        return None
    if method.is_ordered and base_model is not None:
        slices = tuple(_with_base_as_input(each, base_model) for each in slices)
    recipe = Recipe(method.name, slices, parameters, base_model, **settings)
    problems += parameter_problems(recipe)
    return recipe if len(problems) == before else None


def _read_base(raw: Any, problems: list[str]) -> str | None:
    if raw is None:
        return None
    try:
        reference = parse_reference(raw)
    except RecipeError:
        problems.append(f"base_model must be a name or a path, got {raw!r}.")
        return None
    if reference.lora is not None:
        problems.append(f"base_model must be a model without an adapter, got {reference.text}.")
    return reference.model


def _with_base_as_input(part: Slice, base_model: str) -> Slice:
    """mergekit adds a missing base to the inputs: beside a single adapter, the base is the other one."""
    if len(part.sources) != 1 or part.sources[0].model == base_model:
        return part
    base = Source(base_model, layer_range=part.sources[0].layer_range)
    return Slice((base, *part.sources), part.parameters)


def _read_method(name: Any, problems: list[str]) -> Method | None:
    if name is None:
        problems.append(f"merge_method is missing. Known: {', '.join(METHODS)}.")
    elif not isinstance(name, str):
        problems.append(f"merge_method must be one word, got {name!r}. Known: {', '.join(METHODS)}.")
    elif name in FULL_METHODS and name not in METHODS:
        problems.append(f"merge_method {name} works on full models only. For adapters there are {', '.join(METHODS)}.")
    elif name not in METHODS:
        hint = unknown_key(str(name), METHODS).partition("'. ")[2]
        problems.append(f"There is no merge method '{name}'. {hint}")
    return METHODS.get(name) if isinstance(name, str) else None


def _one_of(raw: Mapping[str, Any], key: str, choices: tuple[str, ...], problems: list[str]) -> Any:
    value = raw.get(key)
    if value is not None and value not in choices:
        problems.append(f"{key} must be one of {', '.join(choices)}, got {value}.")
    return value


def _read_space(raw: Mapping[str, Any], method: Method | None, problems: list[str]) -> str:
    space = _one_of(raw, "space", (*SPACES, "factor"), problems)
    if space == "factor":
        problems.append("space factor is a method of its own, because it is approximate: merge_method: factor.")
    elif space in SPACES and method and space not in method.spaces:
        if method.family == "spectral":
            problems.append(f"{method.name} works in space core only, got {space}. Remove space.")
        else:
            advice = "Remove it, or use compressed." if method.is_fixed_sum else "Remove it."
            problems.append(f"space says where {method.name} looks at entries, but it does not look at any. {advice}")
    return space or "core"


def _read_rank(raw: Mapping[str, Any], method: Method | None, problems: list[str]) -> RankRule:
    try:
        rule = parse_rank("auto" if raw.get("rank") is None else raw["rank"])
    except ParameterError as error:
        problems.append(str(error))
        return RankRule()
    if method and method.family in ("concat", "factor") and rule.kind != "auto":
        problems.append(
            f"{method.name} keeps the factors' own rank. Remove rank, or use task_arithmetic to choose one."
        )
    if raw.get("space") == "compressed" and rule.kind != "at_most":
        problems.append(
            f"space compressed needs rank, a whole number: how many axes the adapters share. Got {rule.text}."
        )
    if method and method.family == "elementwise" and raw.get("space") == "delta" and rule.kind == "exact":
        problems.append("rank exact would be a full-rank adapter in space delta. Use auto, a number or energy:0.99.")
    return rule


def _read_seed(raw: Mapping[str, Any], problems: list[str]) -> int:
    seed = raw.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        problems.append(f"seed must be a whole number of at least 0 and below 2**63, got {seed!r}.")
        return 0
    return seed


def _read_variant(raw: Mapping[str, Any], method: Method | None, problems: list[str]) -> str:
    variant = _one_of(raw, "variant", VARIANTS, problems) or "mergekit"
    if method and variant in VARIANTS and variant not in method.variants:
        problems.append(f"{method.name} has no variant {variant}: paper and mergekit agree. Remove it.")
    return variant

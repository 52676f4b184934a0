"""The documents of a recipe: which are of adapters and which of full models, and in which order they are merged.

One document is one merge. With several (`---`), a name given by `name:` stands for that merge's result in the others;
the last document is the result of the whole.
"""

import os.path
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from medley.errors import ProblemsError, RecipeError
from merging import METHODS
from merging.full_models.methods import FULL_METHODS
from merging.full_models.parse import parse_full
from merging.full_models.recipe import FullRecipe
from merging.recipes.inputs import moved_slice, read_slices
from merging.recipes.parse import FULL_MODEL_KEYS, OUR_KEYS, parse_adapters
from merging.recipes.recipe import Recipe
from merging.recipes.reference import Reference, parse_reference
from merging.recipes.yaml_text import read_documents

Kind = Literal["adapter", "model"]
KindOf = Callable[[str], Kind | None]
WITHOUT_NAMES = ("merge_method", "dtype", "out_dtype", "parameters", "chat_template", *OUR_KEYS)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


@dataclass(frozen=True)
class Document:
    """One merge of a recipe.

    Attributes:
        recipe: checked.
        name: what the other documents call its result; None where nobody does.
        uses: the names of the documents whose results it needs.
    """

    recipe: Recipe | FullRecipe
    name: str | None = None
    uses: tuple[str, ...] = ()

    @property
    def makes(self) -> Kind:
        is_adapter = isinstance(self.recipe, Recipe) and self.recipe.output == "adapter"
        return "adapter" if is_adapter else "model"

    def with_models(self, rename: Callable[[str], str]) -> "Document":
        """The same merge with other words for its inputs and its base."""
        if isinstance(self.recipe, FullRecipe):
            return replace(self, recipe=self.recipe.with_models(rename))
        return replace(self, recipe=self.recipe.with_models(rename).with_base_name(rename))

    def to_mapping(self) -> dict[str, Any]:
        """Plain values that read back to the same."""
        named = {"name": self.name} if self.name else {}
        output = {"output": "model"} if isinstance(self.recipe, FullRecipe) else {}
        return {**named, **self.recipe.to_mapping(), **output}

    @property
    def inputs(self) -> tuple[str, ...]:
        """What it merges that no other document makes."""
        return tuple(each for each in self.recipe.models if each not in self.uses)

    @property
    def bases(self) -> tuple[str, ...]:
        """What it names as a base without merging it."""
        return () if isinstance(self.recipe, FullRecipe) else self.recipe.bases


def folder_kind(ref: str) -> Kind | None:
    """What a folder holds, or None where it is neither or there is none."""
    folder = Path(ref).expanduser()
    if os.path.isfile(folder / "adapter_config.json"):  # unlike Path.is_file, False for a name that is too long
        return "adapter"
    return "model" if os.path.isfile(folder / "config.json") else None


def parse_documents(recipe: Any, kind_of: KindOf = folder_kind) -> tuple[Document, ...]:
    """The merges of a recipe in the order in which they are done; the last is the result.

    Args:
        recipe: a mapping, a list of mappings, a path, YAML text (a str with a newline), or what is parsed already.
        kind_of: whether a path or name is an adapter or a full model; None where nobody knows.

    Raises:
        NotFoundError: there is no such file.
        RecipeError: it is not YAML with a mapping in each document.
        ProblemsError: everything that is wrong inside.
    """
    if isinstance(recipe, (Recipe, FullRecipe)):
        return (Document(recipe),)
    if isinstance(recipe, tuple) and all(isinstance(each, Document) for each in recipe):
        return recipe
    subject, raws = read_documents(recipe)
    problems: list[str] = []
    names = _read_names(raws, problems)
    bodies = [{key: value for key, value in raw.items() if key != "name"} for raw in raws]
    uses = [[name for name in _names_in(body) if name in names] for body in bodies]
    order = _order(names, uses, problems)
    made: dict[str, Kind] = {}
    documents = []
    for index in order if not problems else ():
        found: list[str] = []
        parsed = _parse_one(bodies[index], lambda ref: made.get(ref) or kind_of(ref), found)
        where = f"{_called(names, index)}: " if len(raws) > 1 else ""
        problems += [where + problem for problem in found]
        document = Document(parsed, names[index], tuple(uses[index])) if parsed is not None else None
        if names[index] is not None:
            made[names[index]] = document.makes if document else "adapter"
        documents += [document] if document else []
    if problems:
        raise ProblemsError(subject, list(dict.fromkeys(problems)))
    return tuple(documents)


def documents_to_yaml(documents: Sequence[Document]) -> str:
    """The documents as YAML text that reads back to the same."""
    if len(documents) == 1:
        return documents[0].recipe.to_yaml()
    named = [f"name: {each.name}\n" if each.name else "" for each in documents]
    return "---\n".join(name + each.recipe.to_yaml() for name, each in zip(named, documents, strict=True))


def _read_names(raws: Sequence[Mapping[str, Any]], problems: list[str]) -> list[str | None]:
    names: list[str | None] = []
    for index, raw in enumerate(raws):
        name = raw.get("name")
        if name is not None and (not isinstance(name, str) or not NAME.fullmatch(name)):
            problems.append(f"name must be letters, digits, dots, dashes and underscores, got {name!r}.")
        elif name is None and index < len(raws) - 1:
            problems.append(f"Document {index + 1} has no name, so nothing can use its result. Add name: …")
        elif name is not None and name in names:
            problems.append(f"Two documents have the name '{name}'.")
        names.append(name if isinstance(name, str) else None)
    return names


def _order(names: Sequence[str | None], uses: Sequence[Sequence[str]], problems: list[str]) -> list[int]:
    """The documents' indices, each after those it uses; the last document comes last."""
    order: list[int] = []

    def visit(index: int, above: tuple[int, ...]) -> None:
        if index in above:
            circle = " -> ".join(_called(names, each) for each in (*above[above.index(index) :], index))
            problems.append(f"The documents use each other in a circle: {circle}.")
        elif index not in order:
            for name in uses[index]:
                visit(names.index(name), (*above, index))
            order.append(index)

    visit(len(names) - 1, ())
    problems += [
        f"No other document uses the result of '{name}'. Remove it, or move it to the end if it is the result."
        for index, name in enumerate(names)
        if index not in order and not problems
    ]
    return order


def _called(names: Sequence[str | None], index: int) -> str:
    return f"'{names[index]}'" if names[index] else f"document {index + 1}"


def _parse_one(raw: Mapping[str, Any], kind_of: KindOf, problems: list[str]) -> Recipe | FullRecipe | None:
    kinds = {each: "adapter" if each.lora else kind_of(each.model) for each in _inputs_in(raw)}
    if not _is_full(raw, kinds):
        return parse_adapters(raw, problems)
    full = next((each.text for each, kind in kinds.items() if kind == "model"), None)
    if raw.get("output") == "adapter":
        what = f"'{full}' is a full model" if full else "this recipe needs full models"
        problems.append(f"output is adapter, but {what}. Remove output; medley extract makes an adapter of a model.")
    recipe = parse_full(raw, problems)
    return recipe and _with_bases(recipe, kind_of, problems)


def _is_full(raw: Mapping[str, Any], kinds: Mapping[Reference, Kind | None]) -> bool:
    """Whether a document is of full models: by what it names, or else by what only full models have."""
    if "model" in kinds.values():
        return True
    modules, method = raw.get("modules"), str(raw.get("merge_method"))
    is_beyond_adapters = (
        (method in FULL_METHODS and method not in METHODS)
        or any(raw.get(key) for key in FULL_MODEL_KEYS)
        or (isinstance(modules, Mapping) and len(modules) > 1)
        or moved_slice(read_slices(raw, [])) is not None
    )
    return is_beyond_adapters and (raw.get("output") == "model" or "adapter" not in kinds.values())


def _with_bases(recipe: FullRecipe, kind_of: KindOf, problems: list[str]) -> FullRecipe:
    """The recipe with `base+adapter` where it names an adapter alone."""
    base = recipe.base_model

    def with_base(reference: Reference) -> Reference:
        if reference.lora is not None or kind_of(reference.model) != "adapter":
            return reference
        if base is None or base.lora is not None or kind_of(base.model) == "adapter":
            problems.append(f"'{reference.model}' is an adapter. Write base+{reference.model}, or give base_model.")
            return reference
        return Reference(base.model, reference.model)

    return recipe.with_references(with_base)


def _inputs_in(raw: Mapping[str, Any]) -> list[Reference]:
    """The models that are merged, without a base model that stands among them as what the others are compared with."""
    modules = raw.get("modules")
    places = [raw, *(each for each in modules.values() if isinstance(each, Mapping))] if isinstance(
        modules, Mapping
    ) else [raw]  # fmt: skip
    listed: list[Any] = []
    for place in places:
        listed += [place[key] for key in ("models", "slices") if isinstance(place.get(key), list)]
    models = [each for part in listed for each in part if isinstance(each, Mapping)]
    models += [each for part in models for each in part.get("sources") or [] if isinstance(each, Mapping)]
    found = _parsed([each.get("model") for each in models])
    base = _parsed([raw.get("base_model")])
    method = METHODS.get(str(raw.get("merge_method")))
    if method and method.is_ordered:  # base_model may be one of the two ends
        is_end = len(set(found)) == 1 or any(each in found for each in base)
        return [*base, *found] if is_end else found
    return [each for each in found if each not in base]


def _names_in(value: Any) -> list[str]:
    """Every text in the document that could name another one, once."""
    if isinstance(value, str):
        return [part for each in _parsed([value]) for part in each.names]
    if isinstance(value, Mapping):
        parts = [part for key, part in value.items() if key not in WITHOUT_NAMES]
    else:
        parts = value if isinstance(value, list) else []
    return list(dict.fromkeys(name for part in parts for name in _names_in(part)))


def _parsed(values: Sequence[Any]) -> list[Reference]:
    """Those of the values that are references; what is wrong with the others is said by the parsers."""
    references = []
    for value in values:
        try:
            references += [parse_reference(value)] if value is not None else []
        except RecipeError:
            continue
    return references

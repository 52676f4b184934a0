"""YAML text to mappings, one for each document: no code, no key twice."""

import os.path
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medley.errors import NotFoundError, RecipeError

MAX_CHARACTERS = 1_000_000  # far above any recipe; a larger text is something else


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader, but a key that stands twice is an error instead of a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for index, key in enumerate(keys) if key in keys[:index] and key != "<<"), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{twice}' stands there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read_documents(recipe: Mapping[str, Any] | Sequence[Mapping[str, Any]] | Path | str) -> tuple[str, list[dict]]:
    """What an error calls the recipe, and its documents as plain mappings.

    Args:
        recipe: a mapping, a list of mappings, a path, or YAML text (a str with a newline; without one it is a path).

    Raises:
        NotFoundError: there is no such file.
        RecipeError: it is none of these, not YAML, or too long, or a document is not a mapping.
    """
    if isinstance(recipe, Mapping):
        return "the recipe", [dict(recipe)]
    if not isinstance(recipe, (str, Path)):
        if isinstance(recipe, Sequence) and recipe and all(isinstance(each, Mapping) for each in recipe):
            return "the recipe", [dict(each) for each in recipe]
        raise RecipeError(f"A recipe is a mapping, a list of them, a path, or YAML text, got {recipe!r}.")
    if isinstance(recipe, str) and "\n" in recipe:
        return "the recipe", load_yaml(recipe, "The recipe")
    path = Path(recipe).expanduser()
    if not os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
        raise NotFoundError(f"There is no recipe at '{str(recipe)[:200]}'.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"'{path.name}' is not UTF-8 text.") from error
    return path.name, load_yaml(text, f"'{path.name}'")


def load_yaml(text: str, subject: str) -> list[dict[str, Any]]:
    """The mappings that the text holds, one for each document that is not empty.

    Args:
        text: YAML.
        subject: how an error calls it, as the beginning of a sentence.

    Raises:
        RecipeError: not YAML, not mappings, or too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise RecipeError(f"{subject} has {len(text):,} characters; a recipe has at most {MAX_CHARACTERS:,}.")
    try:
        documents = [each for each in yaml.load_all(text, Loader=_StrictLoader) if each is not None]  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise RecipeError(f"{subject} is not valid YAML: {_place(error)}") from error
    if not documents or not all(isinstance(each, dict) for each in documents):
        raise RecipeError(f"{subject} is not a recipe: it must be a mapping with 'merge_method' and 'models'.")
    return documents


def _place(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return f"{str(error).splitlines()[0] if str(error) else type(error).__name__}."
    return f"line {mark.line + 1}, {problem}."

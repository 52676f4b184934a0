"""YAML text to mappings, one for each document: no code, no key twice."""

import os.path
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medley.errors import NotFoundError, RecipeError

MAX_CHARACTERS = 1_000_000  # far above any recipe; a larger text is something else
MERGE_TAG = "tag:yaml.org,2002:merge"  # of the key <<, which takes over the keys of another mapping
MAX_VALUES = 50_000  # the same for what a text says; a few aliases of aliases can stand for billions


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader, but a key that stands twice is an error instead of a silent overwrite, and so are endless aliases."""

    def construct_document(self, node: yaml.Node) -> Any:
        _count_values(node, {})
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != MERGE_TAG]
        counts = Counter(key for key in keys if isinstance(key, Hashable))
        twice = next((key for key, count in counts.items() if count > 1), None)
        if twice is not None:
            raise _refused(node, f"the key '{twice}' stands there twice")
        return super().construct_mapping(node, deep)


def _count_values(node: yaml.Node, counts: dict[yaml.Node, int | None]) -> int:
    """How many values the node has, those behind an alias at each place where it stands.

    Args:
        counts: of nodes that were looked at already; None while one is being looked at.

    Raises:
        ConstructorError: they are too many, or the node is inside itself.
    """
    if node not in counts:
        counts[node] = None
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        pairs = parts if isinstance(node, yaml.MappingNode) else [(part,) for part in parts]
        counts[node] = 1 + sum(_count_values(part, counts) for pair in pairs for part in pair)
    count = counts[node]
    if count is None:
        raise _refused(node, "an alias stands inside of what it stands for")
    if count > MAX_VALUES:
        raise _refused(node, f"this has {count:,} values, aliases counted; a recipe has at most {MAX_VALUES:,}")
    return count


def _refused(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


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
    path = Path(os.path.expanduser(recipe))  # unlike Path.expanduser no error for a user who is not here
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

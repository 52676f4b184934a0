"""YAML text to one mapping: no code, no second document, no key twice."""

from collections.abc import Hashable
from typing import Any

import yaml

from medley.errors import RecipeError

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


def load_yaml(text: str, subject: str) -> dict[str, Any]:
    """The mapping that the text holds.

    Args:
        text: YAML.
        subject: how an error calls it, as the beginning of a sentence.

    Raises:
        RecipeError: not YAML, not a mapping, several documents, or too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise RecipeError(f"{subject} has {len(text):,} characters; a recipe has at most {MAX_CHARACTERS:,}.")
    try:
        documents = [each for each in yaml.load_all(text, Loader=_StrictLoader) if each is not None]  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise RecipeError(f"{subject} is not valid YAML: {_place(error)}") from error
    if len(documents) > 1:
        raise RecipeError(
            f"{subject} has {len(documents)} documents, and using one merge in the next is not supported yet. "
            "Merge them one after another."
        )
    if not documents or not isinstance(documents[0], dict):
        raise RecipeError(f"{subject} is not a recipe: it must be a mapping with 'merge_method' and 'models'.")
    return documents[0]


def _place(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return f"{str(error).splitlines()[0] if str(error) else type(error).__name__}."
    return f"line {mark.line + 1}, {problem}."

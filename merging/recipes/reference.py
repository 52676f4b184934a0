"""How a recipe names a model: `path[@revision][+lora[@revision]]`, or mergekit's mapping of the same parts."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from medley.errors import RecipeError

KEYS = ("model", "lora", "override_architecture")
PATH_KEYS = ("path", "revision")


@dataclass(frozen=True)
class Reference:
    """A model, an adapter, or an adapter on a model.

    Attributes:
        model: a path or a name, with `@revision` where one is given.
        lora: the adapter on it, in the same form, or None.
        override_architecture: what mergekit is to take the model for, or None.
    """

    model: str
    lora: str | None = None
    override_architecture: str | None = None

    @property
    def text(self) -> str:
        """The short form, for sentences."""
        return self.model if self.lora is None else f"{self.model}+{self.lora}"

    @property
    def names(self) -> tuple[str, ...]:
        """What has to be found: the model, and the adapter where there is one."""
        return (self.model,) if self.lora is None else (self.model, self.lora)

    def to_value(self) -> str | dict[str, Any]:
        """As it stands in a recipe: the short form, or the mapping where the short form would say something else."""
        is_plain = self.override_architecture is None and "+" not in self.model + (self.lora or "")
        if is_plain:
            return self.text
        parts = {"model": {"path": self.model}, "lora": self.lora and {"path": self.lora}}
        return {key: value for key, value in (parts | {"override_architecture": self.override_architecture}).items()
                if value is not None}  # fmt: skip

    def renamed(self, rename: Callable[[str], str]) -> "Reference":
        """The same with other words for the model and the adapter."""
        return replace(self, model=rename(self.model), lora=None if self.lora is None else rename(self.lora))


def parse_reference(raw: Any) -> Reference:
    """The reference that a recipe's value is.

    A text that is a path of something that exists is that path, whatever characters are in it. From Python a Path will
    do as well.

    Raises:
        RecipeError: neither form; the sentence continues the name of the place: "must be …".
    """
    reference = _read_reference(os.fspath(raw) if isinstance(raw, os.PathLike) else raw)
    homeless = next(
        (name for name in reference.names if name.startswith("~") and os.path.expanduser(name) == name), None
    )
    if homeless is not None:
        raise RecipeError(f"is in the home folder of a user who is not on this machine, got {homeless!r}.")
    return reference


def _read_reference(raw: Any) -> Reference:
    if isinstance(raw, str) and raw:
        parts = [raw] if os.path.exists(raw) else raw.split("+")
        if len(parts) > 2:
            raise RecipeError(f"has more than one + in {raw!r}. Write it as {{model: {{path: …}}, lora: {{path: …}}}}.")
        if all(parts):
            return Reference(*parts)
    if isinstance(raw, Mapping) and (raw.get("model") or raw.get("lora")) and not set(raw) - set(KEYS):
        model, lora = _read_path(raw.get("model")), _read_path(raw.get("lora"))
        if raw.get("model") is None:  # an adapter alone, whose base is known from its configuration
            model, lora = lora, None
        return Reference(model, lora, raw.get("override_architecture"))
    raise RecipeError(f"must be a model, an adapter, or base+adapter, got {raw!r}.")


def _read_path(raw: Any) -> str | None:
    """`path@revision` from the text or from the mapping of both."""
    if raw is None or (isinstance(raw, str) and raw):
        return raw
    if isinstance(raw, Mapping) and isinstance(raw.get("path"), str) and raw["path"] and not set(raw) - set(PATH_KEYS):
        return raw["path"] if raw.get("revision") is None else f"{raw['path']}@{raw['revision']}"
    raise RecipeError(f"needs a path, and may have a revision, got {raw!r}.")

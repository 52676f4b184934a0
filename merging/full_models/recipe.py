"""A recipe of full models after parsing: mergekit's own keys, with every model in it a `Reference`.

It runs on mergekit, so its shape stays mergekit's. Reading one is in parse.py, running one in run.py.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from merging.full_models.methods import FULL_METHODS, FullMethod
from merging.recipes.reference import Reference


@dataclass(frozen=True)
class FullSource:
    """One input of a slice: its model, its layers [first, end) or None for all, and its own parameters."""

    model: Reference
    layer_range: tuple[int, int] | None
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class FullPart:
    """Models that are merged with each other, over some layers of one module.

    Attributes:
        where: the place in the recipe, for sentences: "slices[0]"; "models" where there are no slices.
        sources: the inputs as listed.
        base_model: of this part.
        settings: the parameters that hold for all its sources, the strongest first.
    """

    where: str
    sources: tuple[FullSource, ...]
    base_model: Reference | None
    settings: tuple[Mapping[str, Any], ...]

    @property
    def has_layers(self) -> bool:
        """True for a slice; False where whole models are merged."""
        return any(source.layer_range for source in self.sources)


@dataclass(frozen=True)
class FullRecipe:
    """A checked recipe of full models.

    Attributes:
        body: mergekit's keys and values, with a Reference wherever a model is named.
        seed: of the methods that draw at random.
    """

    body: Mapping[str, Any]
    seed: int = 0

    @property
    def merge_method(self) -> str:
        return self.body["merge_method"]

    @property
    def method(self) -> FullMethod:
        return FULL_METHODS[self.merge_method]

    @property
    def base_model(self) -> Reference | None:
        return self.body.get("base_model")

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every model whose weights are read, once: the base first, then in the order of the recipe."""
        listed = [source.model for part in self.parts() for source in part.sources]
        bases = [self.base_model, *(part.base_model for part in self.parts())]
        return tuple(dict.fromkeys(each for each in (*bases[:1], *listed, *bases[1:]) if each is not None))

    @property
    def all_references(self) -> tuple[Reference, ...]:
        """The same, and those that only a tokenizer or a token comes from."""
        return tuple(dict.fromkeys((*self.references, *_references_in(self.body))))

    @property
    def donor(self) -> Reference:
        """Whose configuration and tokenizer the result gets: the base model's, else those of the first model."""
        return self.references[0]

    @property
    def models(self) -> tuple[str, ...]:
        """Every path or name that has to be found, once; a tokenizer's owner among them."""
        found: dict[str, None] = {}
        for reference in self.all_references:
            found |= dict.fromkeys(reference.names)
        return tuple(found)

    @property
    def has_own_tokenizer(self) -> bool:
        """True where the recipe says how the tokenizer is made, instead of taking the donor's."""
        return bool(self.body.get("tokenizer") or self.body.get("tokenizer_source"))

    @property
    def written_dtype(self) -> str | None:
        """The dtype of the result, or None for the widest of the inputs; arithmetic is always float32."""
        return self.body.get("out_dtype") or self.body.get("dtype")

    def parts(self) -> Iterator[FullPart]:
        """What is merged with what."""
        shared = self.body.get("parameters") or {}
        modules = self.body.get("modules") or {None: self.body}
        for name, module in modules.items():
            prefix = "" if name is None else f"modules.{name}."
            outer = (shared,) if name is None else (module.get("parameters") or {}, shared)
            if module.get("models"):
                yield FullPart(f"{prefix}models", _sources(module["models"]), self.base_model, outer)
            for index, each in enumerate(module.get("slices") or []):
                base = each.get("base_model") or self.base_model
                settings = (each.get("parameters") or {}, *outer)
                yield FullPart(f"{prefix}slices[{index}]", _sources(each["sources"]), base, settings)

    def with_references(self, change: Callable[[Reference], Reference]) -> "FullRecipe":
        """The same recipe with other models in its places."""
        return replace(self, body=_changed(self.body, change))

    def with_models(self, rename: Callable[[str], str]) -> "FullRecipe":
        """The same recipe with other words for its inputs (a folder for a name, or a name for a folder)."""
        return self.with_references(lambda reference: reference.renamed(rename))

    def to_mapping(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return {**_changed(self.body, Reference.to_value), **({"seed": self.seed} if self.seed else {})}

    def to_yaml(self) -> str:
        """The recipe as YAML that reads back to an equal recipe."""
        import yaml

        return yaml.safe_dump({**self.to_mapping(), "output": "model"}, sort_keys=False, allow_unicode=True)


def _sources(listed: list[Mapping[str, Any]]) -> tuple[FullSource, ...]:
    return tuple(
        FullSource(each["model"], each.get("layer_range") and tuple(each["layer_range"]), each.get("parameters") or {})
        for each in listed
    )


def _changed(value: Any, change: Callable[[Reference], Any]) -> Any:
    """A copy of nested values with every Reference replaced by what `change` makes of it."""
    if isinstance(value, Reference):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _changed(part, change) for key, part in value.items()}
    return [_changed(part, change) for part in value] if isinstance(value, list) else value


def _references_in(value: Any) -> Iterator[Reference]:
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, (Mapping, list)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _references_in(part)

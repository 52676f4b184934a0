"""A recipe after parsing: what is merged, how, and into what. Plain values; it opens no file and imports no torch.

The shape is mergekit's, plus our keys `output`, `space`, `rank`, `seed` and `variant`. Reading one is in parse.py.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medley.errors import ParameterError
from merging import METHODS
from merging.method import Method
from merging.recipes.reference import Reference

DTYPES = ("float32", "float16", "bfloat16")
RANK_WORDS = {  # kinds of RankRule, as a user writes them
    "auto": "auto",
    "exact": "exact",
    "at_most": "a whole number of at least 1",
    "energy": "energy:x with x in (0, 1]",
}


@dataclass(frozen=True)
class RankRule:
    """How many singular values a merged module keeps.

    Attributes:
        kind: "auto", "exact", "at_most" or "energy".
        value: the largest rank for "at_most", the share of Σσ² for "energy".
    """

    kind: str = "auto"
    value: float = 0.0

    @property
    def text(self) -> str | int:
        """As in a recipe."""
        if self.kind == "at_most":
            return int(self.value)
        return f"energy:{self.value!r}".removesuffix(".0") if self.kind == "energy" else self.kind


def parse_rank(value: Any, kinds: Sequence[str] = tuple(RANK_WORDS)) -> RankRule:
    """The rule that `auto`, `exact`, a whole number or `energy:0.99` stands for.

    Args:
        value: as a user wrote it.
        kinds: those of RANK_WORDS that are taken here; the sentence offers no other.

    Raises:
        ParameterError: anything else.
    """
    rule = _rank_rule(value)
    if rule is not None and rule.kind in kinds:
        return rule
    *others, last = (RANK_WORDS[kind] for kind in kinds)
    comma = "," if len(others) > 1 else ""
    raise ParameterError(f"rank must be {', '.join(others)}{comma} or {last}, got {value}.")


def _rank_rule(value: Any) -> RankRule | None:
    if value in ("auto", "exact"):
        return RankRule(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return RankRule("at_most", value)
    if isinstance(value, str) and value.isdecimal() and int(value) >= 1:
        return RankRule("at_most", int(value))
    match = re.fullmatch(r"energy:(\d*\.?\d+(?:e-?\d+)?)", value) if isinstance(value, str) else None
    return RankRule("energy", float(match[1])) if match and 0 < float(match[1]) <= 1 else None


@dataclass(frozen=True)
class Source:
    """One input of a slice.

    Attributes:
        model: an adapter folder as written in the recipe (or the base model itself, whose delta is zero).
        parameters: its own settings; see settings.py.
        layer_range: the layers [start, end) it is used for, or None for all.
        base: what stood before the + in "base+adapter", to be compared with the adapter's own base.
    """

    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    layer_range: tuple[int, int] | None = None
    base: str | None = None


@dataclass(frozen=True)
class Slice:
    """Inputs that are merged with each other over some layers; a recipe with `models` has one slice of all layers."""

    sources: tuple[Source, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Module:
    """mergekit's `modules`, of which an adapter has one: its name, and settings that hold for all its slices."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe of adapters.

    Attributes:
        merge_method: a name in METHODS.
        slices: what is merged; one without layer range where the recipe has `models`.
        parameters: settings for the whole merge.
        base_model: the base model, or for slerp one of the two adapters; see `base_is_input`.
        dtype, out_dtype: as in the recipe; see `written_dtype`.
        space: where elementwise methods look at entries; see `named_space`.
        rank: how many singular values stay.
        seed: of the random methods.
        variant: "mergekit" or "paper".
        output: "adapter", or "model" for the base with the merged adapter folded into it.
        module: what `models` or `slices` stand in, where the recipe has `modules`.
    """

    merge_method: str
    slices: tuple[Slice, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    base_model: str | None = None
    dtype: str | None = None
    out_dtype: str | None = None
    space: str = "core"
    rank: RankRule = field(default_factory=RankRule)
    seed: int = 0
    variant: str = "mergekit"
    output: str = "adapter"
    module: Module | None = None

    @property
    def method(self) -> Method:
        return METHODS[self.merge_method]

    @property
    def shared_parameters(self) -> tuple[Mapping[str, Any], ...]:
        """The settings that hold for all slices, the strongest first: those of the module, then the recipe's."""
        return (self.parameters,) if self.module is None else (self.module.parameters, self.parameters)

    @property
    def named_space(self) -> str | None:
        """The space, or None for a method that needs none."""
        return self.space if self.space in self.method.spaces else None

    @property
    def models(self) -> tuple[str, ...]:
        """Every input once, in the order of the recipe; without a base model that is listed among them."""
        named = dict.fromkeys(source.model for each in self.slices for source in each.sources)
        return tuple(model for model in named if not self.is_base(model))

    @property
    def bases(self) -> tuple[str, ...]:
        """Every base model that is named, here or as `base+adapter`."""
        named = (self.base_model, *(source.base for each in self.slices for source in each.sources))
        return tuple(dict.fromkeys(base for base in named if base is not None and base not in self.models))

    @property
    def folded_base(self) -> str | None:
        """The model that `output: model` folds the merged adapter into: base_model, or that of `base+adapter`."""
        if self.base_model is not None and self.base_model not in self.models:
            return self.base_model
        return next((source.base for part in self.slices for source in part.sources if source.base), None)

    def is_base(self, model: str) -> bool:
        """True for the base model itself, listed among the inputs as mergekit's recipes do: its delta is zero."""
        return model == self.base_model and not self.method.is_ordered

    @property
    def written_dtype(self) -> str | None:
        """The dtype of the result, or None for the widest of the inputs."""
        return self.out_dtype or self.dtype

    def with_models(self, rename: Callable[[str], str]) -> "Recipe":
        """The same recipe with other words for its inputs (a folder for a name, or a name for a folder)."""

        def renamed(source: Source) -> Source:
            return source if self.is_base(source.model) else dataclasses.replace(source, model=rename(source.model))

        slices = tuple(dataclasses.replace(each, sources=tuple(map(renamed, each.sources))) for each in self.slices)
        is_input = self.base_model is not None and self.base_model in self.models
        base = rename(self.base_model) if is_input else self.base_model
        return dataclasses.replace(self, slices=slices, base_model=base)

    def with_base_name(self, rename: Callable[[str], str]) -> "Recipe":
        """The same recipe with other words for base models, wherever it names one that is not an adapter."""
        base = self.base_model if self.base_model not in self.models else None

        def renamed(source: Source) -> Source:
            model = rename(source.model) if source.model == base else source.model
            return dataclasses.replace(source, model=model, base=source.base and rename(source.base))

        slices = tuple(dataclasses.replace(each, sources=tuple(map(renamed, each.sources))) for each in self.slices)
        return dataclasses.replace(self, slices=slices, base_model=rename(base) if base else self.base_model)

    def to_mapping(self) -> dict[str, Any]:
        """The recipe as plain values, in the order people write them; what is at its default is left out."""
        out: dict[str, Any] = {"merge_method": self.merge_method, "base_model": self.base_model}
        if self.module is None:
            out |= self._input_mapping()
        else:
            inputs = self._input_mapping() | {"parameters": dict(self.module.parameters)}
            out["modules"] = {self.module.name: _without_empty(inputs)}
        out |= {"parameters": dict(self.parameters), "dtype": self.dtype, "out_dtype": self.out_dtype}
        if self.named_space:
            out["space"] = self.named_space
        if self.rank.kind != "auto":
            out["rank"] = self.rank.text
        if self.variant != "mergekit":
            out["variant"] = self.variant
        if self.seed:
            out["seed"] = self.seed
        if self.output != "adapter":
            out["output"] = self.output
        return _without_empty(out)

    def _input_mapping(self) -> dict[str, Any]:
        """`models`, or `slices` where layers are named."""
        if not any(source.layer_range for each in self.slices for source in each.sources):
            return {"models": list(map(_source_mapping, self.slices[0].sources))}
        parts = [{"sources": list(map(_source_mapping, each.sources)), "parameters": each.parameters}
                 for each in self.slices]  # fmt: skip
        return {"slices": list(map(_without_empty, parts))}

    def to_yaml(self) -> str:
        """The recipe as YAML that `parse_recipe` reads back to an equal recipe."""
        import yaml

        return yaml.safe_dump(self.to_mapping(), sort_keys=False, allow_unicode=True, width=120)


def _source_mapping(source: Source) -> dict[str, Any]:
    reference = Reference(source.base, source.model) if source.base else Reference(source.model)
    layers = list(source.layer_range) if source.layer_range else None
    return _without_empty({"model": reference.to_value(), "layer_range": layers, "parameters": dict(source.parameters)})


def _without_empty(mapping: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value not in (None, {}, [])}

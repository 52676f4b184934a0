"""What a merge method is to the rest of the program: a row of the table, readable without torch.

The maths is in `merging/methods/<name>.py`, in a function named after the family: `coefficients` for weighted sums of
deltas, `merge` for rules that look at single entries or at singular vectors, `merge_factors` for those that stack or
average the factors.
"""

import importlib
import keyword
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from medley.options import Option

Family = Literal["exact", "elementwise", "spectral", "concat", "factor"]
Scope = Literal["global", "model"]
VARIANTS = ("mergekit", "paper")
SPACES = ("core", "delta", "knots", "compressed")
SPACES_OF = {"elementwise": SPACES, "spectral": ("core",)}  # where the methods of a family can look at deltas
FUNCTION_OF = {
    "exact": "coefficients",
    "elementwise": "merge",
    "spectral": "merge",
    "concat": "merge_factors",
    "factor": "merge_factors",
}


@dataclass(frozen=True)
class Parameter(Option):
    """An option of a method.

    Attributes:
        scope: "global" for one value of the whole merge, "model" for one per adapter. Both may vary by module.
        is_required: True where mergekit has no default either.
    """

    scope: Scope = "global"
    is_required: bool = False

    @property
    def argument(self) -> str:
        """The name in the method's function: `lambda` is a word of Python's own, so it becomes `lambda_`."""
        return self.name + "_" if keyword.iskeyword(self.name) else self.name


@dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    Attributes:
        name: as in recipes; its maths is in `merging/methods/<name>.py`.
        family: "exact" (a weighted sum of deltas, solved in small matrices), "elementwise" (needs a space), "spectral"
            (goes by singular vectors, in the core space), "concat" (factors stacked unchanged) or "factor" (factors
            averaged: approximate).
        paper: an arXiv id or the place where it was published.
        when: one sentence for a person who has to choose.
        parameters: its own; `weight` is among them where adapters are weighted.
        variants: "paper" is among them where the paper's rule differs from mergekit's.
        max_models, min_models: how many adapters it takes.
        is_ordered: True where exchanging two adapters means something else.
        is_random: True where the result depends on the recipe's seed.
        divides_by_weights: True where weights that sum to zero are an error (unless a switch turns the division off).
        counts_base: True where the base model, listed among the inputs, counts as one more: a zero delta.
        is_fixed_sum: True where the numbers of the sum depend on the weights alone; it then has space compressed too.
        paper_needs_one_density: True where the paper's rule trims whole adapters, so density cannot vary by module.
    """

    name: str
    family: Family
    paper: str
    when: str
    parameters: tuple[Parameter, ...]
    variants: tuple[str, ...] = ("mergekit",)
    min_models: int = 1
    max_models: int | None = None
    is_ordered: bool = False
    is_random: bool = False
    divides_by_weights: bool = False
    counts_base: bool = False
    is_fixed_sum: bool = False
    paper_needs_one_density: bool = False

    def function(self, variant: str = "mergekit") -> Callable[..., Any]:
        """The pure function with the maths; importing it loads torch."""
        name = FUNCTION_OF[self.family] + ("" if variant == "mergekit" else f"_{variant}")
        return getattr(importlib.import_module(f"merging.methods.{self.name}"), name)

    def preparation(self, variant: str) -> Callable[..., Any] | None:
        """What has to look at the whole adapters before the first module is merged, or None."""
        return getattr(importlib.import_module(f"merging.methods.{self.name}"), f"prepare_{variant}", None)

    def parameter(self, name: str) -> Parameter | None:
        return next((each for each in self.parameters if each.name == name), None)

    @property
    def spaces(self) -> tuple[str, ...]:
        """Where it can look at deltas; empty where it has no need to."""
        return ("compressed",) if self.is_fixed_sum else SPACES_OF.get(self.family, ())

    @property
    def division_switch(self) -> str | None:
        """The parameter that turns the division by the sum of the weights on and off, or None."""
        return next((each.name for each in self.parameters if each.name.startswith("normalize")), None)

    @property
    def is_weighted(self) -> bool:
        return self.parameter("weight") is not None


WEIGHT = Parameter("weight", float, None, "How much of this adapter goes in.", scope="model", is_required=True)
DENSITY = Parameter(
    "density", float, 1.0, "Share of an adapter's entries that is kept.", above=0.0, high=1.0, scope="model"
)
GAMMA = Parameter(
    "gamma", float, 0.01, "Share of an adapter's largest entries that is dropped.", low=0.0, high=1.0, scope="model"
)
EPSILON = Parameter(
    "epsilon",
    float,
    0.15,
    "An entry's chance to stay lies within epsilon of the density.",
    low=0.0,
    high=0.5,
    scope="model",
)
LAMBDA = Parameter("lambda", float, 1.0, "The merged delta is multiplied by this.")


def normalize(default: bool) -> Parameter:
    return Parameter("normalize", bool, default, "Divide by the sum of the weights.")


def rescale(default: bool) -> Parameter:
    return Parameter("rescale", bool, default, "Scale the kept entries up, so that the whole keeps its size.")


def spread_problem(density: float, epsilon: float) -> str | None:
    """Why chances from density − epsilon to density + epsilon cannot be, as a sentence, or None."""
    if density >= 1 or (density - epsilon > 0 and density + epsilon < 1):
        return None
    return (
        f"density - epsilon and density + epsilon must lie between 0 and 1, got density {density:g} and epsilon "
        f"{epsilon:g}. Lower epsilon, or set density to 1, which drops nothing."
    )

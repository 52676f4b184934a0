"""A module's inputs read from the adapters' files, with the weights and parameters that go with each."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from medley.errors import AdapterFormatError
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE, AdapterFile, file_sha256
from medley.lm.adapter_tensors import FactorReader
from medley.lm.adapter_writer import is_finite
from merging.check import Preflight
from merging.input_digests import InputDigests
from merging.numerics.lowrank import Factors, norm
from merging.plan import ModulePlan
from merging.recipes.recipe import Recipe
from merging.solve import Inputs
from merging.spaces.chosen import space_stack

Digest = tuple[str, str]
LARGEST_NORM = 1e12  # of a delta; squares of its million-fold still fit into float32, and of much more they do not


@dataclass(frozen=True)
class Reader:
    """Reads modules, from any thread.

    Attributes:
        recipe: parsed.
        adapters: in the order of `recipe.models`.
        files: of each adapter's weights, open.
        digests: of each adapter's weights and configuration.
        names: what sentences call each adapter.
        prepared: what a variant found out about the whole adapters: argument to adapter to value.
    """

    recipe: Recipe
    adapters: Sequence[AdapterFile]
    files: Sequence[FactorReader]
    digests: Sequence[Digest] | InputDigests
    names: Sequence[str]
    prepared: Mapping[str, Mapping[int, Any]] = field(default_factory=dict)

    def read(self, plan: ModulePlan) -> Inputs:
        """The module's factors with everything that goes with each.

        Elementwise methods draw random numbers and add in float32, so their adapters come in the order of their
        size, not of the recipe: then neither the order in the recipe nor the gauge of the factors changes anything.
        """
        return self.arrange(plan, [self.factors(index, plan) for index in plan.inputs])

    def arrange(self, plan: ModulePlan, factors: Sequence[Factors]) -> Inputs:
        """The same for factors that were read already, one pair per source of the plan."""
        order = list(range(len(plan.inputs)))
        if self.recipe.method.family in ("elementwise", "spectral"):
            weights = plan.weights or (1.0,) * len(order)  # a method may weigh the adapters itself
            order.sort(key=lambda place: (norm(factors[place]), self._digest(plan.inputs[place]), weights[place]))
        indices = [plan.inputs[place] for place in order]
        per_model = {name: [values[place] for place in order] for name, values in plan.per_model.items()}
        per_model |= {name: [values.get(index, 0.0) for index in indices] for name, values in self.prepared.items()}
        return Inputs(
            [factors[place] for place in order],
            [plan.weights[place] for place in order] if plan.weights else [],
            per_model,
            [1.0 if index is None else self.adapters[index].modules[plan.name].scale for index in indices],
        )

    def factors(self, index: int | None, plan: ModulePlan) -> Factors:
        """(scale · B, A) of one adapter for one module in float32; rank 0 where it has none.

        Raises:
            AdapterFormatError: NaN, Infinity, or numbers that no weight can have.
        """
        if index is None:
            return torch.zeros(plan.out_features, 0), torch.zeros(0, plan.in_features)
        b, a = self.files[index].read_scaled(plan.name)
        if not norm_bound(b, a) <= LARGEST_NORM:  # NaN is not either
            is_number = is_finite(b) and is_finite(a)
            what = f"a delta larger than {LARGEST_NORM:g}" if is_number else "NaN or Infinity"
            raise AdapterFormatError(
                f"'{self.names[index]}' holds {what} in {plan.name}: its training went wrong. "
                "Train it again with a lower learning rate, or take an earlier version."
            )
        return b, a

    def _digest(self, index: int | None) -> Digest:
        return ("", "") if index is None else self.digests[index]


def norm_bound(b: torch.Tensor, a: torch.Tensor) -> float:
    """‖B‖·‖A‖, which ‖B·A‖ is at most, by squares in float32; NaN or infinite where those are."""
    return float(torch.linalg.vector_norm(b)) * float(torch.linalg.vector_norm(a))


def digests_of(adapters: Sequence[AdapterFile]) -> list[Digest]:
    """sha256 of each adapter's weights and configuration."""
    return [(file_sha256(each.folder / WEIGHTS_FILE), file_sha256(each.folder / CONFIG_FILE)) for each in adapters]


def open_reader(recipe: Recipe, found: Preflight, digests: Sequence[Digest] | InputDigests) -> Reader:
    """A reader for a recipe that passed preflight; variants that need it look at the whole adapters here."""
    adapters = list(found.adapters.values())
    reader = Reader(recipe, adapters, [FactorReader(each) for each in adapters], digests, list(found.adapters))
    prepare = recipe.method.preparation(recipe.variant)
    if prepare is None:
        return reader

    def modules() -> Iterator[list[tuple[int, torch.Tensor]]]:
        for plan in found.modules:
            weighted = zip(plan.inputs, plan.weights, strict=True)
            touching = [index for index, weight in weighted if index is not None and weight]
            factors = [reader.factors(index, plan) for index in touching]
            yield list(zip(touching, space_stack(recipe, factors), strict=True)) if factors else []

    density = {
        index: share
        for plan in found.modules
        for index, share in zip(plan.inputs, plan.per_model["density"], strict=True)
        if index is not None
    }
    return replace(reader, prepared=prepare(modules, density=density))


@contextmanager
def one_thread() -> Iterator[int]:
    """Several threads add in an order that depends on their number, and so would the last bits of the result.

    Gives the number of threads that there were, which may work on different modules instead.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)

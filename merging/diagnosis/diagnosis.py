"""Everything worth knowing of a merge before it is made, in numbers: likeness, norms, conflicts, spectrum, cost.

The adapters' weights are read once, module by module; no delta is built.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from medley.errors import AdapterFormatError, ProblemsError
from merging.check import Preflight, preflight
from merging.diagnosis.alikeness import Alikeness, Matrix, reduce_module
from merging.diagnosis.cost import Cost, estimate_cost, is_dense
from merging.diagnosis.sign_conflict import ModuleConflict, SignConflict, module_conflict, sum_conflicts
from merging.diagnosis.spectrum import kept_by_rank
from merging.numerics.lowrank import Factors
from merging.plan import LAYER, ModulePlan
from merging.reading import Reader, one_thread, open_reader
from merging.recipes.recipe import Recipe
from merging.solve import DTYPES, Merged, merge_module, module_energies, module_seed

SHARES = (0.9, 0.95, 0.99)


@dataclass(frozen=True)
class LayerNorms:
    """How large the deltas of one layer are.

    Attributes:
        name: "0", "1", … for the layers; the module's own name outside of them.
        adapters: √Σ‖ΔW‖² over the layer's modules, per adapter, each as it is, without its weight.
        result: the same for the merged adapter before any cut.
    """

    name: str
    adapters: tuple[float, ...]
    result: float


@dataclass(frozen=True)
class Diagnosis:
    """What the adapters are to each other, and what would come out of their merge.

    Attributes:
        names: of the adapters, in the order of every tuple here.
        cosines: of the deltas, in [-1, 1]; see alikeness.py.
        output_overlap, input_overlap: of the spaces that the deltas write and read, in [0, 1]; see alikeness.py.
        layers: norms by layer, the first layer first.
        conflict: of signs, or None where no two adapters touch a module.
        energy: the share of Σ‖ΔW‖² of the result that each module cut to rank 1, 2, … keeps; empty for a zero result.
        is_core_spectrum: True where the merge would go through dense deltas, whose spectrum costs as much as the merge
            itself: `energy` and the result's norms are then those of the same rule in space core.
        cost: time and memory.
    """

    names: tuple[str, ...]
    cosines: Matrix
    output_overlap: Matrix
    input_overlap: Matrix
    layers: tuple[LayerNorms, ...]
    conflict: SignConflict | None
    energy: tuple[float, ...]
    is_core_spectrum: bool
    cost: Cost

    @property
    def errors(self) -> tuple[float, ...]:
        """‖ΔW − cut‖ / ‖ΔW‖ of the whole result with each module cut to rank 1, 2, …: √(1 − energy)."""
        return tuple(math.sqrt(max(0.0, 1 - share)) for share in self.energy)

    def rank_for(self, share: float) -> int:
        """The smallest rank of every module that keeps this share of the energy; 0 for a zero result."""
        return next((rank for rank, kept in enumerate(self.energy, start=1) if kept >= share - 1e-12), len(self.energy))

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        ranks = {f"{share:g}": self.rank_for(share) for share in SHARES}
        return asdict(self) | {"errors": self.errors, "rank_for_energy": ranks}


def diagnose(
    recipe: Mapping[str, Any] | Path | str | Recipe,
    *,
    names: Mapping[str, str] | None = None,
    found: Preflight | None = None,
) -> Diagnosis:
    """The diagnosis of a merge that nothing stands against.

    Args:
        recipe: as `parse_recipe` takes it.
        names: what to call an input's folder; by default the end of its path.
        found: the recipe's preflight, if it was made already.

    Raises:
        ProblemsError: everything that preflight found, or every adapter that holds NaN or Infinity.
    """
    found = found or preflight(recipe, names=names)
    if found.problems or found.recipe is None:
        raise ProblemsError("the merge", found.problems)
    with one_thread() as threads:
        seen = _see(found, found.recipe)
        cost = estimate_cost(found, found.recipe, seen.read_seconds, seen.merge, threads)
    output_overlap, input_overlap = seen.alikeness.overlaps()
    return Diagnosis(
        names=tuple(found.adapters),
        cosines=seen.alikeness.cosines(),
        output_overlap=output_overlap,
        input_overlap=input_overlap,
        layers=_layer_norms(seen, found.modules),
        conflict=sum_conflicts(seen.conflicts),
        energy=tuple(kept_by_rank(list(seen.energies.values()))),
        is_core_spectrum=is_dense(found.recipe),
        cost=cost,
    )


def _see(found: Preflight, recipe: Recipe) -> "_Seen":
    """Every module, looked at once."""
    seen = _Seen(recipe, open_reader(recipe, found, [("", "")] * len(found.adapters)), DTYPES[found.dtype])
    for plan in found.modules:
        seen.add(plan)
    if seen.problems:
        raise ProblemsError("the merge", list(seen.problems.values()))
    return seen


@dataclass
class _Seen:
    """What is gathered module by module.

    Attributes:
        dtype: of the merge's result.
        energies: module to σ² of its result, falling.
        squares: module to ‖ΔW‖² by adapter.
        problems: adapter to what is wrong with its numbers.
    """

    recipe: Recipe
    reader: Reader
    dtype: torch.dtype
    conflicts: list[ModuleConflict] = field(default_factory=list)
    energies: dict[str, list[float]] = field(default_factory=dict)
    squares: dict[str, dict[int, float]] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    read_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.alikeness = Alikeness(len(self.reader.adapters))

    def add(self, plan: ModulePlan) -> None:
        """Read one module of every adapter and look at it in every way."""
        started = time.perf_counter()
        factors = self._read(plan)
        self.read_seconds += time.perf_counter() - started
        if self.problems:
            return
        touching = {index: each for index, each in factors.items() if index is not None}
        module = reduce_module(touching)
        self.alikeness.add(module)
        self.squares[plan.name] = {index: module.products[index, index] for index in touching}
        self.energies[plan.name] = module_energies(
            self.recipe, plan, self.reader.arrange(plan, [factors[index] for index in plan.inputs])
        )
        pulling = _pulling(plan, factors)
        if len(pulling) > 1:
            generator = torch.Generator().manual_seed(module_seed(0, plan.name))
            self.conflicts.append(module_conflict(pulling, generator))

    def merge(self, plan: ModulePlan) -> Merged:
        """The result of one module, as the merge will make it."""
        return merge_module(self.recipe, plan, self.reader.read(plan), self.dtype)

    def _read(self, plan: ModulePlan) -> dict[int | None, Factors]:
        factors = {}
        for index in dict.fromkeys(plan.inputs):
            try:
                factors[index] = self.reader.factors(index, plan)
            except AdapterFormatError as error:
                self.problems.setdefault(-1 if index is None else index, str(error))
        return factors


def _pulling(plan: ModulePlan, factors: Mapping[int | None, Factors]) -> list[Factors]:
    """The deltas that enter with the sign of their weight; those without weight or weights of their own stay out."""
    weights = plan.weights or (1.0,) * len(plan.inputs)
    pulled = zip(plan.inputs, weights, strict=True)
    return [
        (factors[index][0] * math.copysign(1.0, weight), factors[index][1])
        for index, weight in pulled
        if index is not None and weight
    ]


def _layer_norms(seen: _Seen, plans: Sequence[ModulePlan]) -> tuple[LayerNorms, ...]:
    stacks = {match[1] for plan in plans if (match := LAYER.match(plan.name))}
    groups: dict[tuple[int, str], list[str]] = {}
    for plan in plans:
        match = LAYER.match(plan.name)
        name = plan.name if match is None else match[2] if len(stacks) == 1 else f"{match[1]}.{match[2]}"
        groups.setdefault((-1 if match is None else int(match[2]), name), []).append(plan.name)
    count = len(seen.reader.adapters)
    return tuple(
        LayerNorms(
            name,
            tuple(_root(seen.squares[each].get(index, 0.0) for each in modules) for index in range(count)),
            _root(value for each in modules for value in seen.energies[each]),
        )
        for (_, name), modules in sorted(groups.items())
    )


def _root(squares: Any) -> float:
    return math.sqrt(max(0.0, math.fsum(squares)))

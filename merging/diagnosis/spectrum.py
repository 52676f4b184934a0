"""Pictures of a merge before it is made: how alike the adapters are, and what each rank would keep.

Both are made from small matrices; no delta is built.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from medley.errors import ProblemsError
from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_tensors import read_scaled_factors
from merging.check import preflight
from merging.diagnosis.alikeness import Alikeness, reduce_module
from merging.reading import digests_of, one_thread, open_reader
from merging.recipes.recipe import Recipe
from merging.solve import module_energies


def similarity(folders: Sequence[Path | str]) -> list[list[float]]:
    """The cosines between the adapters' deltas, all modules together: 1 is the same direction, 0 unrelated.

    A module that an adapter does not touch is a zero delta; an adapter that is zero everywhere has cosine 0 to others.

    Args:
        folders: adapters of one base.

    Raises:
        AdapterFormatError, ProblemsError: one of them is not an adapter.
    """
    adapters = [open_adapter(Path(folder)) for folder in folders]
    alikeness = Alikeness(len(adapters))
    for name in sorted({name for adapter in adapters for name in adapter.modules}):
        touching = [index for index, adapter in enumerate(adapters) if name in adapter.modules]
        alikeness.add(reduce_module({index: read_scaled_factors(adapters[index], name) for index in touching}))
    return [list(row) for row in alikeness.cosines()]


def energy_by_rank(recipe: Mapping[str, Any] | Path | str | Recipe) -> list[float]:
    """The share of Σ‖ΔW‖² of the whole result that each module cut to rank 1, 2, … would keep; the last is 1.

    Rules that look at entries are shown in the core space, whatever space the recipe has.

    Raises:
        ProblemsError: everything that preflight found.
    """
    found = preflight(recipe)
    if found.problems or found.recipe is None:
        raise ProblemsError("the merge", found.problems)
    with one_thread():
        reader = open_reader(found.recipe, found, digests_of(list(found.adapters.values())))
        energies = [module_energies(found.recipe, plan, reader.read(plan)) for plan in found.modules]
    return kept_by_rank(energies)


def kept_by_rank(energies: Sequence[Sequence[float]]) -> list[float]:
    """The share of all σ² that a cut of every module to rank 1, 2, … keeps; empty where there are none.

    Args:
        energies: σ² of each module in falling order.
    """
    by_rank = [math.fsum(column) for column in zip_longest(*energies, fillvalue=0.0)]
    total = math.fsum(by_rank)
    kept = [math.fsum(by_rank[: rank + 1]) for rank in range(len(by_rank))]
    return [share / total for share in kept] if total else []

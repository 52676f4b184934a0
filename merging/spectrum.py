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
from merging.lowrank import inner_product
from merging.reading import digests_of, one_thread, open_reader
from merging.recipe import Recipe
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
    count = len(adapters)
    products = [[0.0] * count for _ in range(count)]
    for name in sorted({name for adapter in adapters for name in adapter.modules}):
        factors = {i: read_scaled_factors(each, name) for i, each in enumerate(adapters) if name in each.modules}
        for first in factors:
            for second in (index for index in factors if index >= first):
                products[first][second] += inner_product(factors[first], factors[second])
    norms = [math.sqrt(products[index][index]) for index in range(count)]

    def cosine(first: int, second: int) -> float:
        if first == second:
            return 1.0
        size = norms[first] * norms[second]
        return max(-1.0, min(1.0, products[min(first, second)][max(first, second)] / size)) if size else 0.0

    return [[cosine(first, second) for second in range(count)] for first in range(count)]


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
    by_rank = [math.fsum(column) for column in zip_longest(*energies, fillvalue=0.0)]
    total = math.fsum(by_rank)
    kept = [math.fsum(by_rank[: rank + 1]) for rank in range(len(by_rank))]
    return [share / total for share in kept] if total else []

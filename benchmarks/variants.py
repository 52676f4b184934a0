"""How far apart mergekit's rule and the paper's are, for every method that has both.

    python -m benchmarks.variants [ADAPTER ADAPTER…] [--density 0.5] [--modules 21] [--seed 0]

Two random rank-16 adapters of eight 512 x 512 modules, and the adapter folders that are named (of one base; of their
modules some, evenly taken, are the whole adapter here), are merged by both rules with the method's defaults, the same
density and the same random numbers. Compared are the merged deltas before any cut to a rank, over all modules:
‖paper − mergekit‖ / ‖mergekit‖, ‖paper‖ / ‖mergekit‖ and their cosine.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_tensors import read_scaled_factors
from merging import METHODS, Method
from merging.numerics.lowrank import Factors
from merging.solve import module_seed
from merging.spaces.core import core_space

SIZE, MODULES, RANK = 512, 8, 16
WEIGHTS = {"equal": (1.0, 1.0), "uneven": (1.0, 0.5)}
Modules = dict[str, Tensor]  # name -> the adapters' deltas in a space, (n, rows, cols)


@dataclass(frozen=True)
class Apart:
    """How the paper's result lies to mergekit's.

    Attributes:
        difference: ‖paper − mergekit‖ / ‖mergekit‖.
        size: ‖paper‖ / ‖mergekit‖.
        cosine: of the angle between them.
    """

    difference: float
    size: float
    cosine: float


def random_modules() -> dict[str, list[Factors]]:
    """Two adapters that have nothing in common."""
    generator = torch.Generator().manual_seed(0)
    return {
        f"module {index}": [
            (torch.randn(SIZE, RANK, generator=generator) / SIZE, torch.randn(RANK, SIZE, generator=generator))
            for _ in range(2)
        ]
        for index in range(MODULES)
    }


def read_modules(folders: Sequence[Path], most: int) -> dict[str, list[Factors]]:
    """Scaled factors of at most so many of the modules that all these adapters touch."""
    adapters = [open_adapter(folder) for folder in folders]
    shared = sorted(set.intersection(*(set(adapter.modules) for adapter in adapters)))
    taken = shared[:: -(-len(shared) // most)]
    return {name: [read_scaled_factors(adapter, name) for adapter in adapters] for name in taken}


def in_space(modules: dict[str, list[Factors]], space: str) -> Modules:
    """The deltas as elementwise rules see them."""
    if space == "delta":
        return {name: torch.stack([b @ a for b, a in factors]) for name, factors in modules.items()}
    return {name: core_space(factors).deltas.float() for name, factors in modules.items()}


def merged(method: Method, variant: str, modules: Modules, given: dict[str, Any], seed: int) -> Iterator[Tensor]:
    """Each module's result; `given` has one value per adapter where the method wants that."""
    prepare, wanted = method.preparation(variant), dict(given)
    if prepare is not None:
        density = dict(enumerate(given["density"]))
        found = prepare(lambda: (list(enumerate(deltas)) for deltas in modules.values()), density=density)
        wanted |= {name: [values[index] for index in density] for name, values in found.items()}
    rule = method.function(variant)
    for name, deltas in modules.items():
        yield rule(deltas, generator=torch.Generator().manual_seed(module_seed(seed, name)), **wanted)


def settings_of(method: Method, weights: Sequence[float], density: float) -> dict[str, Any]:
    """The method's defaults, with this density (or share of selected entries) and these weights."""
    own: dict[str, Any] = {"weights": weights if method.is_weighted else ()}
    for each in method.parameters:
        if each.name == "weight":
            continue
        value = density if each.name in ("density", "select_topk") else each.default
        own[each.argument] = [value] * len(weights) if each.scope == "model" else value
    return own


def compare(method: Method, modules: Modules, given: dict[str, Any], seed: int) -> Apart:
    """Both rules over all modules."""
    pairs = zip(*(merged(method, variant, modules, given, seed) for variant in ("mergekit", "paper")), strict=True)
    own = theirs = both = 0.0
    for first, second in pairs:
        own += float(first.double().square().sum())
        theirs += float(second.double().square().sum())
        both += float((first.double() * second.double()).sum())
    return Apart(
        max(0.0, own + theirs - 2 * both) ** 0.5 / own**0.5, (theirs / own) ** 0.5, both / (own * theirs) ** 0.5
    )


def print_section(title: str, modules: dict[str, list[Factors]], density: float, seed: int) -> None:
    """A table with a row for each method and space."""
    count = len(next(iter(modules.values())))
    print(f"## mergekit's rules and the papers', {title}\n")
    print(f"{len(modules)} modules, {count} adapters, density {density:g}, everything else at the method's default.\n")
    print("| method | space | " + " | ".join(f"{name} weights: difference | size | cosine" for name in WEIGHTS) + " |")
    print("|---|---" + "|---" * 3 * len(WEIGHTS) + "|")
    for space in ("core", "delta"):
        inside = in_space(modules, space)
        for method in METHODS.values():
            if "paper" not in method.variants:
                continue
            cells = []
            for pair in WEIGHTS.values():
                weights = [pair[0], *[pair[1]] * (count - 1)]
                found = compare(method, inside, settings_of(method, weights, density), seed)
                cells += [f"{found.difference:.3f}", f"{found.size:.2f}", f"{found.cosine:.3f}"]
            print(f"| `{method.name}` | {space} | " + " | ".join(cells) + " |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapters", nargs="*", type=Path, help="Folders of two or more adapters of one base.")
    parser.add_argument("--density", type=float, default=0.5, help="Share of entries that is kept. Default 0.5.")
    parser.add_argument("--modules", type=int, default=21, help="At most so many of each adapter. Default 21.")
    parser.add_argument("--seed", type=int, default=0, help="Of the methods that draw at random. Default 0.")
    arguments = parser.parse_args()
    print_section("random adapters", random_modules(), arguments.density, arguments.seed)
    if arguments.adapters:
        names = " and ".join(folder.name for folder in arguments.adapters)
        print_section(names, read_modules(arguments.adapters, arguments.modules), arguments.density, arguments.seed)


if __name__ == "__main__":
    main()

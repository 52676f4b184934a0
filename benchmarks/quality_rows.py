"""The rows of `benchmarks.merge_quality`: every way to make one model of five adapters, at settings that need no data.

Weights are equal. Methods that average get the weights of an average; those that add get 1 each and a lambda.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.quality_measure import adapter_deltas, model_deltas
from medley.lm.load import LoadedBase

Deltas = Mapping[str, Tensor | tuple[Tensor, Tensor]]
DENSITY = 0.5  # of every method that has one, unless the row says another


@dataclass(frozen=True)
class Made:
    """A merged model.

    Attributes:
        deltas: what is added to the base.
        seconds: of processor time, from adapter files to the result's file.
        energy_kept: of the cut to the result's rank, or None where it is not reported.
    """

    deltas: Deltas
    seconds: float
    energy_kept: float | None = None


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        label: what stands in it.
        method: a row of METHODS.
        parameters: of the method.
        keys: space, rank, variant.
        weight: of each adapter; None for methods without weights.
    """

    label: str
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)
    weight: float | None = 1.0

    def make(self, adapters: Mapping[str, Path], folder: Path) -> Made:
        from merging import merge, recipe_from_weights

        models = [(str(path), self.weight) for path in adapters.values()]
        out = folder / "merged"
        started = time.process_time()
        report = merge(recipe_from_weights(self.method, models, dict(self.parameters), **self.keys), out)
        return Made(adapter_deltas(out), time.process_time() - started, report.energy_kept)


def elementwise(method: str, space: str, weight: float | None = 1.0, **parameters: Any) -> Row:
    where, keys = (TO_RANK_16, COMPRESSED) if space == "compressed" else (space, {"space": space})
    said = ", ".join(f"{name} {value}" for name, value in parameters.items())
    return Row(f"{method}, {where}, {said}", method, parameters, keys, weight)


HALF_SUM = {"lambda": 0.6}
COMPRESSED = {"space": "compressed", "rank": 16}
TO_RANK_16 = "compressed to rank 16"
ADDING = ("dare_ties", "dare_linear", "della_linear", "breadcrumbs", "breadcrumbs_ties")  # with lambda 0.6
AVERAGING = ("ties", "della")


def in_space(space: str) -> tuple[Row, ...]:
    """Every elementwise method in one space."""
    return (
        *(elementwise(method, space, density=DENSITY) for method in AVERAGING),
        *(elementwise(method, space, density=DENSITY, **HALF_SUM) for method in ADDING),
        elementwise("magnitude_prune", space, 0.2, density=DENSITY),
        elementwise("sce", space, None, select_topk=0.5),
    )


OURS: tuple[Row, ...] = (
    Row("linear (the average)", "linear", weight=0.2),
    *(Row(f"task_arithmetic, lambda {each}", "task_arithmetic", {"lambda": each}) for each in (0.4, 0.6, 1.0)),
    Row("multislerp", "multislerp", weight=0.2),
    Row("karcher", "karcher", weight=None),
    Row("model_stock", "model_stock", weight=None),
    *(Row(name, name) for name in ("tsv", "iso_c", "iso_cts")),
    *in_space("core"),
    elementwise("ties", "core", density=0.2),
    *in_space("knots"),
    *in_space("compressed"),
    Row("linear, cut to rank 16", "linear", keys={"rank": 16}, weight=0.2),
    Row(f"linear, {TO_RANK_16}", "linear", {}, COMPRESSED, 0.2),
    Row("task_arithmetic, lambda 0.6, cut to rank 16", "task_arithmetic", HALF_SUM, {"rank": 16}),
    Row(f"task_arithmetic, lambda 0.6, {TO_RANK_16}", "task_arithmetic", HALF_SUM, COMPRESSED),
    Row("factor (peft's averaging, ours)", "factor", weight=0.2),
    *in_space("delta"),
)


def peft_row(
    combination_type: str, *, weight: float, **settings: Any
) -> Callable[[LoadedBase, Mapping[str, Path], Path], Made]:
    """peft's `add_weighted_adapter` with equal weights."""

    def make(base: LoadedBase, adapters: Mapping[str, Path], folder: Path) -> Made:
        from peft import PeftModel

        names = list(adapters)
        model = PeftModel.from_pretrained(base.model, adapters[names[0]], adapter_name=names[0])
        try:
            for name in names[1:]:
                model.load_adapter(adapters[name], adapter_name=name)
            model.float()  # peft's own arithmetic at its best
            started = time.process_time()
            model.add_weighted_adapter(
                names, [weight] * len(names), "merged", combination_type=combination_type, **settings
            )
            model.save_pretrained(folder / "peft", selected_adapters=["merged"])
            seconds = time.process_time() - started
        finally:
            model.unload()
        return Made(adapter_deltas(folder / "peft" / "merged"), seconds)

    return make


def mergekit_ties(base: LoadedBase, base_dir: Path, adapters: Mapping[str, Path], folder: Path) -> Made:
    """mergekit's TIES over base+lora inputs: five full models, folded and merged into a sixth."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    models = [
        {"model": f"{base_dir}+{path}", "parameters": {"weight": 1.0, "density": DENSITY}} for path in adapters.values()
    ]
    recipe = {"merge_method": "ties", "base_model": str(base_dir), "models": models, "dtype": "float32",
              "out_dtype": "bfloat16"}  # fmt: skip
    started = time.process_time()
    options = MergeOptions(lora_merge_cache=str(folder / "cache"), lazy_unpickle=True, quiet=True)
    run_merge(MergeConfiguration.model_validate(recipe), str(folder / "mergekit"), options)
    seconds = time.process_time() - started
    return Made(model_deltas(folder / "mergekit", base), seconds)

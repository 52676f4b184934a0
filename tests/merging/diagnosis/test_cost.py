"""The model of time and memory against counted operations and allocations of real merges; no clock is read."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from merging import Preflight, merge, preflight, recipe_from_weights
from merging.diagnosis.cost import estimate_cost, operations_of, workers_for
from merging.parallel import LARGE_BLOCK
from merging.reading import one_thread, open_reader
from merging.solve import DTYPES, merge_module
from tests.merging.lora_files import random_factors, write_lora

METHODS = {
    "linear": ("linear", {}, {}),
    "ties in core": ("ties", {"density": 0.5}, {}),
    "ties in knots": ("ties", {"density": 0.5}, {"space": "knots"}),
    "ties compressed": ("ties", {"density": 0.5}, {"space": "compressed", "rank": 4}),
    "linear compressed": ("linear", {}, {"space": "compressed", "rank": 6}),
    "tsv": ("tsv", {}, {}),
    "ties in delta": ("ties", {"density": 0.5}, {"space": "delta"}),
    "dare_ties in delta": ("dare_ties", {"density": 0.5}, {"space": "delta"}),
}


def checked(tmp_path: Path, key: str, shape: tuple[int, int], ranks: tuple[int, ...]) -> Preflight:
    method, parameters, keys = METHODS[key]
    modules = [f"model.layers.{layer}.q_proj" for layer in range(8)]
    name = f"{key}-{shape}-{ranks}"
    folders = [
        write_lora(tmp_path / name / f"{i}", {module: random_factors(*shape, rank, i) for module in modules})
        for i, rank in enumerate(ranks)
    ]
    return preflight(recipe_from_weights(method, [(folder, 0.5) for folder in folders], parameters, **keys))


class Counted(TorchDispatchMode):
    """Counts operations: 2·m·n·k of a product, of a QR and SVD what LAPACK needs, else one per number."""

    operations = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if name in ("mm", "bmm"):
            self.operations += 2 * first.numel() * args[1].shape[-1]
        elif name == "linalg_qr":
            self.operations += 4 * max(first.shape) * min(first.shape) ** 2
        elif name in ("_linalg_svd", "linalg_svd"):
            self.operations += 22 * max(first.shape) * min(first.shape) ** 2
        elif isinstance(out, torch.Tensor):
            self.operations += out.numel()
        return out


def counted_operations(found: Preflight) -> float:
    plan, reader = found.modules[0], open_reader(found.recipe, found, [("", "")] * len(found.adapters))
    inputs = reader.read(plan)
    with Counted() as counter:
        merge_module(found.recipe, plan, inputs, DTYPES[found.dtype])
    return counter.operations


def allocated_peak(work: Callable[[], object]) -> int:
    with one_thread(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = sorted(seen.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    held = highest = 0
    for event in events:
        if event.name() == "[memory]" and abs(event.nbytes()) != LARGE_BLOCK:  # which is asked for and never touched
            held += event.nbytes()
            highest = max(highest, held)
    return highest


@pytest.mark.parametrize("key", METHODS)
def test_a_larger_module_costs_as_much_more_as_the_model_says(tmp_path: Path, key: str) -> None:
    """Seconds are those of a small measured module times the ratio of operations, so the ratio must hold."""
    small, large = checked(tmp_path, key, (96, 64), (4, 4)), checked(tmp_path, key, (384, 256), (16, 8))
    said, counted = (
        count(large) / count(small)
        for count in (
            lambda found: operations_of(found.recipe, found.modules[0], list(found.adapters.values())),
            counted_operations,
        )
    )
    assert 0.5 < said / counted < 2


@pytest.mark.parametrize("key", METHODS)
def test_the_peak_is_within_a_factor_of_two_of_what_a_merge_allocates(tmp_path: Path, key: str) -> None:
    for shape, ranks in (((96, 64), (4, 4)), ((256, 384), (16, 8, 8))):
        found = checked(tmp_path, key, shape, ranks)
        peak = allocated_peak(lambda found=found, shape=shape: merge(found.recipe, tmp_path / f"{key}{shape}-out"))
        assert 0.5 < estimate_cost(found, found.recipe, 0.0, lambda plan: None).peak_bytes / peak < 2


def test_a_module_of_each_shape_is_measured(tmp_path: Path) -> None:
    shapes = {"model.layers.0.a": (40, 30), "model.layers.0.b": (90, 70), "model.layers.0.c": (4000, 4000)}
    folder = write_lora(tmp_path / "a", {name: random_factors(*shape, 40, 1) for name, shape in shapes.items()})
    found = preflight(recipe_from_weights("linear", [(folder, 1.0)]))
    measured: list[str] = []
    cost = estimate_cost(found, found.recipe, 2.0, lambda plan: measured.append(plan.name))
    assert measured == [f"model.layers.0.{name}" for name in "cba" for _ in range(3)]  # that which needs most first
    assert cost.operations == 12.0 * (70 + 160 + 8000) * 40**2 + 3 * 60 * 40**3
    assert 6.0 <= cost.seconds < 6.1  # three times the reading, and next to nothing for a merge that does nothing


def test_what_is_measured_stays_a_small_part_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven modules of one shape, whose time counts seven times, and one that alone would be two thirds of it all."""
    found = checked(tmp_path, "ties in delta", (96, 64), (4, 4))
    *many, large = (replace(plan, out_features=2000, in_features=1000) for plan in found.modules)
    large = replace(large, out_features=5000, in_features=6000)
    measured: list[str] = []
    monkeypatch.setattr(time, "thread_time", lambda: 0.125 * len(measured))  # every module takes an eighth of a second
    needed = [operations_of(found.recipe, plan, list(found.adapters.values())) for plan in (many[0], large)]
    found = replace(found, modules=(*many, large))
    cost = estimate_cost(found, found.recipe, 0.0, lambda plan: measured.append(plan.name))
    assert measured == [many[0].name] * 2  # the second ends after a quarter of a second, which is enough
    assert cost.seconds == pytest.approx(0.125 * (7 + needed[1] / needed[0]))
    estimate_cost(replace(found, modules=(large,)), found.recipe, 0.0, lambda plan: measured.append(plan.name))
    assert measured[2:] == [large.name] * 2


def test_dense_modules_are_worked_on_by_as_many_threads_as_memory_allows(tmp_path: Path) -> None:
    found = checked(tmp_path, "ties in delta", (96, 64), (4, 4))
    alone, four = (estimate_cost(found, found.recipe, 0.0, lambda plan: None, threads) for threads in (1, 4))
    assert (alone.workers, four.workers) == (1, 4)
    assert four.peak_bytes == 4 * alone.peak_bytes  # eight modules of one shape
    wide = replace(found.modules[0], out_features=40_000, in_features=4_000)  # 2.6 GB
    assert workers_for(found.recipe, [wide], 4) == 1
    assert workers_for(replace(found.recipe, space="core"), [wide], 4) == 4

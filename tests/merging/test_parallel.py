"""What makes merging fast may neither change a result nor hold more than it has to; no clock is read."""

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_tensors import read_factors
from medley.lm.adapter_writer import AdapterWriter
from merging import recipe_from_weights
from merging.parallel import in_order
from merging.plan import ModulePlan
from merging.solve import Inputs, merge_module
from tests.merging.lora_files import random_factors

ROWS, COLUMNS, RANK = 300, 200, 3


def test_results_come_in_the_order_of_the_items_on_any_number_of_threads() -> None:
    second_is_done = threading.Event()

    def square(number: int) -> int:
        if number == 2:
            second_is_done.set()
        if number == 1:
            assert second_is_done.wait(10)  # the first ends after the second
        return number * number

    assert list(in_order(square, [1, 2, 3, 4], workers=2)) == [1, 4, 9, 16]
    assert list(in_order(square, [2, 3], workers=1)) == [4, 9]


FAULTS = """
import resource, torch
from merging.parallel import in_order

def work(number):
    parts = [torch.ones(250_000) for _ in range(12)]  # 12 MB, all freed again
    return number

def faults(items):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert list(in_order(work, range(items), workers=2)) == list(range(items))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(40))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's memory")
def test_memory_is_asked_for_once_and_not_once_per_item() -> None:
    """40 items of 12 MB are 117,000 pages; two threads need a few times 3,000 of them (without: 100,000)."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    run = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 40_000


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_few_results_wait_to_be_taken(workers: int) -> None:
    begun, lock = 0, threading.Lock()

    def work(item: int) -> int:
        nonlocal begun
        with lock:
            begun += 1
        return item

    for taken, _ in enumerate(in_order(work, range(20), workers), start=1):
        with lock:
            assert begun - taken <= workers
    assert begun == 20


def test_a_failure_reaches_the_caller_and_ends_the_work() -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            raise ValueError("one")
        return item

    with pytest.raises(ValueError, match=r"^one$"):
        list(in_order(work, range(100), workers=2))
    assert len(begun) <= 4  # the one that failed, and what was handed out before that was seen


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation gave, in numbers."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numbers = max(self.numbers, out.numel())
        return out


@pytest.mark.parametrize(
    ("method", "parameters", "keys", "settings"),
    [
        ("linear", None, {}, {"normalize": True}),
        ("linear", None, {"rank": 2}, {"normalize": True}),
        ("concat", None, {}, {}),
        ("ties", {"density": 0.5}, {"space": "core"}, {"normalize": True, "rescale": False, "lambda_": 1.0}),
    ],
)
def test_no_delta_is_ever_built(method: str, parameters: Any, keys: Any, settings: Any) -> None:
    factors, weights = [random_factors(ROWS, COLUMNS, RANK, seed) for seed in range(4)], (0.4, 0.3, 0.2, 0.1)
    recipe = recipe_from_weights(method, [(str(i), weight) for i, weight in enumerate(weights)], parameters, **keys)
    per_model = {"density": (0.5,) * 4} if parameters else {}
    plan = ModulePlan("module", ROWS, COLUMNS, (0, 1, 2, 3), weights, per_model, settings)
    with Largest() as seen:
        merge_module(recipe, plan, Inputs(factors, weights, per_model, [1.0] * 4), torch.bfloat16)
    assert ROWS * RANK <= seen.numbers <= 2 * 4 * RANK * ROWS < ROWS * COLUMNS  # no more than stacked factors, twice


def test_a_cut_makes_no_more_columns_than_it_keeps() -> None:
    """Of both sides of the decomposition only the kept columns are multiplied out: 2, not 12."""
    factors, weights = [random_factors(ROWS, COLUMNS, RANK, seed) for seed in range(4)], (0.4, 0.3, 0.2, 0.1)
    widths: list[int] = []

    class Widths(TorchDispatchMode):
        def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if func.overloadpacket.__name__ == "mm" and out.shape[0] == ROWS:
                widths.append(out.shape[1])
            return out

    recipe = recipe_from_weights("linear", [(str(i), weight) for i, weight in enumerate(weights)], rank=2)
    plan = ModulePlan("module", ROWS, COLUMNS, (0, 1, 2, 3), weights, {}, {"normalize": True})
    with Widths():
        merge_module(recipe, plan, Inputs(factors, weights, {}, [1.0] * 4), torch.float32)
    assert widths == [2]


def test_an_adapter_grows_on_the_disk_module_by_module(tmp_path: Path) -> None:
    factors = {f"layers.{layer}.q": random_factors(8, 6, 2 + layer, layer) for layer in range(3)}
    weights, sizes = tmp_path / "adapter_model.safetensors", []
    with AdapterWriter(tmp_path, list(factors), base_model="org/base") as writer:
        for name, (b, a) in factors.items():
            writer.add(name, b, a)
            sizes.append(weights.stat().st_size)
    grown = [later - earlier for earlier, later in pairwise(sizes)]
    assert grown == [(8 + 6) * 3 * 4, (8 + 6) * 4 * 4]  # rows and columns, times the rank, times four bytes
    adapter = open_adapter(tmp_path)
    for name, (b, a) in factors.items():
        assert all(map(torch.equal, read_factors(adapter, name), (b, a)))


def test_an_adapter_that_is_not_finished_leaves_no_file(tmp_path: Path) -> None:
    def write_half() -> None:
        with AdapterWriter(tmp_path, ["a", "b"], base_model="org/base") as writer:
            writer.add("a", *random_factors(8, 6, 2, 1))
            assert (tmp_path / "adapter_model.safetensors").is_file()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == []

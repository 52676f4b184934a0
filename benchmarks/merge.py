"""Merging four rank-16 adapters linearly, against peft's `add_weighted_adapter(combination_type="svd")`.

    python -m benchmarks.merge [--size 4096] [--modules 16] [--peft-modules 1] [--rounds 5] [--json FILE]

Both get the same factors, merge on the same threads and end with factors of rank 16 (peft's default for these inputs).
peft needs a dense SVD for each module, so it is timed on fewer of them; all times are per module. The error is measured
against the dense float64 sum.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from medley.lm.adapter_tensors import write_adapter
from merging import merge, recipe_from_weights
from merging.plan import ModulePlan
from merging.solve import Inputs, merge_module

ADAPTERS, RANK = 4, 16
WEIGHTS = (0.4, 0.3, 0.2, 0.1)
GOAL = 500
Factors = tuple[Tensor, Tensor]


def random_factors(size: int, seed: int) -> Factors:
    """One adapter's (B, A) for one module of size x size."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, RANK, generator=generator) / size, torch.randn(RANK, size, generator=generator)


def relative_error(found: Factors, inputs: list[Factors]) -> float:
    """‖found − Σ wᵢBᵢAᵢ‖ / ‖Σ wᵢBᵢAᵢ‖, dense in float64."""
    exact = sum(weight * b.double() @ a.double() for weight, (b, a) in zip(WEIGHTS, inputs, strict=True))
    return float((found[0].double() @ found[1].double() - exact).norm() / exact.norm())


def time_peft(modules: list[list[Factors]], size: int) -> tuple[list[float], Factors]:
    """Seconds per module, and the factors of the first module's result."""
    from peft import LoraConfig, get_peft_model

    times, result = [], None
    for inputs in modules:
        base = nn.Sequential(nn.Linear(size, size, bias=False))
        config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["0"])
        model = get_peft_model(base, config, adapter_name="0")
        for name in map(str, range(1, ADAPTERS)):
            model.add_adapter(name, config)
        layer = model.base_model.model[0]
        with torch.no_grad():
            for name, (b, a) in enumerate(inputs):
                layer.lora_B[str(name)].weight.copy_(b)
                layer.lora_A[str(name)].weight.copy_(a)
        names = [str(name) for name in range(ADAPTERS)]
        started = time.perf_counter()
        model.add_weighted_adapter(names, list(WEIGHTS), "merged", combination_type="svd")
        times.append(time.perf_counter() - started)
        scale = layer.scaling["merged"]
        merged = scale * layer.lora_B["merged"].weight.detach(), layer.lora_A["merged"].weight.detach()
        result = merged if result is None else result
    assert result is not None
    return times, result


def time_ours(modules: list[list[Factors]], size: int, rounds: int) -> tuple[list[float], Factors]:
    """Seconds per module (all rounds), with the error computed as in every merge, and the first module's result."""
    models = [(str(index), weight) for index, weight in enumerate(WEIGHTS)]
    recipe = recipe_from_weights("linear", models, rank=RANK)
    plan = ModulePlan("module", size, size, tuple(range(ADAPTERS)), WEIGHTS, {}, {"normalize": True})
    times, results = [], []
    for index in range(rounds + 1):
        for inputs in modules:
            started = time.perf_counter()
            merged = merge_module(recipe, plan, Inputs(inputs, WEIGHTS, {}, [1.0] * ADAPTERS), torch.float32)
            if index:  # the first round warms up
                times.append(time.perf_counter() - started)
            results = results or [merged.factors]
    return times, results[0]


def time_files(modules: list[list[Factors]], folder: Path) -> float:
    """Seconds per module from four adapter folders to one, reading, checking and writing included."""
    for index in range(ADAPTERS):
        factors = {f"layers.{layer}.proj": inputs[index] for layer, inputs in enumerate(modules)}
        write_adapter(folder / str(index), factors, base_model="org/base", dtype=torch.bfloat16)
    models = [(folder / str(index), weight) for index, weight in enumerate(WEIGHTS)]
    report = merge(recipe_from_weights("linear", models, rank=RANK), folder / "out")
    return report.seconds / len(modules)


def table(result: dict[str, float]) -> str:
    """The Markdown section."""
    rows = [
        ("peft, svd", result["peft_s"], result["peft_error"]),
        ("Medley, in memory", result["ours_s"], result["ours_error"]),
        ("Medley, files in to file out (bf16)", result["files_s"], None),
    ]
    lines = ["| way | ms per module | times faster | relative error of the cut to rank 16 |", "|---|---:|---:|---:|"]
    for name, seconds, error in rows:
        shown = f"{error:.6f}" if error is not None else "as above"
        lines.append(f"| {name} | {1000 * seconds:.2f} | {result['peft_s'] / seconds:.0f} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096, help="rows and columns of a module")
    parser.add_argument("--modules", type=int, default=16, help="modules that Medley merges")
    parser.add_argument("--peft-modules", type=int, default=1, help="modules that peft merges")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of Medley")
    parser.add_argument("--json", type=Path, default=None, help="write the numbers here too")
    options = parser.parse_args()
    modules = [
        [random_factors(options.size, ADAPTERS * module + index) for index in range(ADAPTERS)]
        for module in range(options.modules)
    ]
    ours, our_factors = time_ours(modules, options.size, options.rounds)
    theirs, their_factors = time_peft(modules[: options.peft_modules], options.size)
    with tempfile.TemporaryDirectory() as temporary:
        files = time_files(modules, Path(temporary))
    result = {
        "peft_s": statistics.median(theirs),
        "ours_s": statistics.median(ours),
        "files_s": files,
        "peft_error": relative_error(their_factors, modules[0]),
        "ours_error": relative_error(our_factors, modules[0]),
    }
    print("## Merging, linear\n")
    print(
        f"{ADAPTERS} adapters of rank {RANK}, modules of {options.size} x {options.size}, cut to rank {RANK}. Medley "
        f"ran on {options.modules} modules, peft on {options.peft_modules}; {torch.get_num_threads()} threads.\n"
    )
    print(table(result))
    print(f"\nGoal: at least {GOAL} times faster in memory than peft, at an error no larger.")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

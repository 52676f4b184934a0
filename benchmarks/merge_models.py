"""Whole models on the bundled base against mergekit and peft, each in a process of its own.

mergekit runs in its own command's function, with its imports already made, as ours has; it works on the processor with
its defaults, reads lazily, and computes in the base's bfloat16 where the recipe says so.
"""

import json
import statistics
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.merge_case import Result, Row, bytes_text, processor_note, seconds_text
from benchmarks.merge_child import run_child
from benchmarks.merge_inputs import write_random_adapter

ADAPTERS, RANK, EXTRACT_RANK = 4, 16, 32
END_GOALS = {"time": 30, "memory": 0.25}
FOLD_GOALS = {"mergekit": {"time": 5, "memory": 0.5}, "peft": {"time": 2, "memory": 1.0}}
EXTRACT_GOAL, EXTRACT_ERROR = 10, 1.01
LAZY = ("--lazy-unpickle", "--quiet")


def bundled_base(options: Namespace, place: Path) -> Path:
    """The bundled base's folder: the one that was given, or made here."""
    from medley.lm.bundled import prepare_bundled

    return options.base or prepare_bundled(place / "base")


def linear_shapes(base: Path) -> dict[str, tuple[int, int]]:
    """Module to (rows, columns) of the linear layers inside the base's blocks."""
    from medley.lm.model_file import open_model

    return {
        name.removesuffix(".weight"): (tensor.shape[0], tensor.shape[1])
        for name, tensor in open_model(base).tensors.items()
        if len(tensor.shape) == 2 and ".layers." in name
    }


def write_adapters(base: Path, place: Path, count: int, rank: int) -> list[Path]:
    """Random adapters of all linear layers of the base."""
    shapes = linear_shapes(base)
    return [
        write_random_adapter(place / f"adapter-{seed}", shapes, rank=rank, seed=seed, base_model=str(base))
        for seed in range(count)
    ]


def end_to_end(options: Namespace) -> Result:
    """TIES of four adapters: ours gives an adapter, mergekit a full model out of `base+lora` inputs."""
    with tempfile.TemporaryDirectory(prefix="medley-bench-") as temporary:
        place = Path(temporary)
        base = bundled_base(options, place)
        folders = write_adapters(base, place, ADAPTERS, RANK)
        parameters = {"weight": 1.0, "density": 0.5}
        ours_recipe = _ties([{"model": str(folder), "parameters": parameters} for folder in folders])
        theirs = [{"model": f"{base}+{folder}", "parameters": parameters} for folder in folders]
        recipe = _write_recipe(place, _ties(theirs) | {"base_model": str(base), "dtype": "bfloat16"})

        def ours(out: Path) -> dict[str, float]:
            return run_child("merge", options.threads, recipe=ours_recipe, out=str(out))

        def mergekit(out: Path) -> dict[str, float]:
            cache = f"--lora-merge-cache={out}-cache"  # a cache of its own each time: nothing is done before
            return run_child("mergekit_yaml", options.threads, recipe=str(recipe), out=str(out), options=[cache, *LAZY])

        runs = in_turns(place, options.model_rounds, {"ours": ours, "mergekit": mergekit})
    case = "adapter TIES, files to file, against mergekit on `base+lora`"
    rows = compared(case, runs, "mergekit", END_GOALS)
    note = f"{ADAPTERS} adapters of rank {RANK} on all linear layers of the bundled base, space `core`; "
    return Result(rows, f"{note}{_rounds(options)}. {processor_note(runs)}")


def fold(options: Namespace) -> Result:
    """One adapter into the base: against mergekit's command, and against peft in process."""
    with tempfile.TemporaryDirectory(prefix="medley-bench-") as temporary:
        place = Path(temporary)
        base = bundled_base(options, place)
        (adapter,) = write_adapters(base, place, 1, RANK)
        inputs = [{"model": f"{base}+{adapter}", "parameters": {"weight": 1.0}}]
        recipe = _write_recipe(place, {"merge_method": "linear", "models": inputs, "dtype": "bfloat16"})
        said: dict[str, Any] = {"base": str(base), "adapter": str(adapter)}

        def mergekit(out: Path) -> dict[str, float]:
            cache = f"--lora-merge-cache={out}-cache"
            return run_child("mergekit_yaml", options.threads, recipe=str(recipe), out=str(out), options=[cache, *LAZY])

        runs = in_turns(
            place,
            options.model_rounds,
            {
                "ours": lambda out: run_child("fold", options.threads, out=str(out), **said),
                "mergekit": mergekit,
                "peft": lambda out: run_child("merge_and_unload", options.threads, out=str(out), **said),
            },
        )
    called = {"mergekit": "mergekit's command", "peft": "`merge_and_unload` and save"}
    rows = [
        row
        for peer, goals in FOLD_GOALS.items()
        for row in compared(f"`fold`, against {called[peer]}", runs, peer, goals)
    ]
    return Result(rows, f"One adapter of rank {RANK} into the bundled base; {_rounds(options)}. {processor_note(runs)}")


def extract(options: Namespace) -> Result:
    """An adapter of rank 32 out of a full model whose linear layers all moved by full-rank noise and four adapters."""
    with tempfile.TemporaryDirectory(prefix="medley-bench-") as temporary:
        place = Path(temporary)
        base = bundled_base(options, place)
        model = write_moved_model(base, place / "model")
        sides = {"base": str(base), "model": str(model)}

        def ours(out: Path) -> dict[str, float]:
            run = run_child("extract", options.threads, out=str(out), rank=EXTRACT_RANK, **sides)
            return run | {"error": difference_error(base, model, out)}

        def mergekit(out: Path) -> dict[str, float]:
            chosen = [f"--model={model}", f"--base-model={base}", f"--max-rank={EXTRACT_RANK}", "--skip-undecomposable"]
            chosen += [f"--exclude-regex={name}" for name in ("embed_tokens", "lm_head", "norm")]
            run = run_child("mergekit_extract_lora", options.threads, out=str(out), options=[*chosen, *LAZY])
            return run | {"error": difference_error(base, model, out)}

        runs = in_turns(place, options.model_rounds, {"ours": ours, "mergekit": mergekit})
    errors = {name: runs[name][0]["error"] for name in runs}
    (row,) = compared("extract, against mergekit-extract-lora", runs, "mergekit", {"time": EXTRACT_GOAL})
    checked = Row(
        **{
            **vars(row),
            "goal": f"{row.goal}, error ≤ {EXTRACT_ERROR}x",
            "our_error": errors["ours"],
            "their_error": errors["mergekit"],
            "most_error": EXTRACT_ERROR,
        }
    )
    note = f"Rank {EXTRACT_RANK}, all linear layers of the bundled base, errors over all of them; {_rounds(options)}. "
    note += processor_note(runs)
    return Result([checked], note)


def write_moved_model(base: Path, out: Path) -> Path:
    """The base with every linear layer moved: most of it by low-rank changes, a fifth of the size by noise."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, out, symlinks=False)
    tensors, generator = load_file(base / "model.safetensors"), torch.Generator().manual_seed(0)
    for module, (rows, columns) in linear_shapes(base).items():
        b, a = torch.randn(rows, 64, generator=generator), torch.randn(64, columns, generator=generator)
        change = b @ a * (0.002 / 8) + torch.randn(rows, columns, generator=generator) * 0.0004
        key = f"{module}.weight"
        tensors[key] = (tensors[key].float() + change).to(tensors[key].dtype)
    target = out / "model.safetensors"
    target.unlink()
    save_file(tensors, target, metadata={"format": "pt"})
    return out


def difference_error(base: Path, model: Path, adapter: Path) -> float:
    """√(Σ‖model − base − ΔW‖² / Σ‖model − base‖²) over the linear layers, ΔW with peft's scale."""
    from safetensors.torch import load_file

    before, after = (load_file(folder / "model.safetensors") for folder in (base, model))
    factors = load_file(adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    missed = total = 0.0
    for module in linear_shapes(base):
        difference = after[f"{module}.weight"].float() - before[f"{module}.weight"].float()
        a, b = (factors[f"base_model.model.{module}.lora_{side}.weight"].float() for side in "AB")
        rank = config["rank_pattern"].get(module, config["r"])
        scale = config["alpha_pattern"].get(module, config["lora_alpha"]) / rank
        missed += float((difference - scale * b @ a).square().sum())
        total += float(difference.square().sum())
    return (missed / total) ** 0.5


def in_turns(
    place: Path, rounds: int, contenders: Mapping[str, Callable[[Path], dict[str, float]]]
) -> dict[str, list[dict[str, float]]]:
    """Every contender once in each round."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, run in contenders.items():
            runs[name].append(run(place / f"{name}-{number}"))
    return runs


def compared(case: str, runs: Mapping[str, list[dict[str, float]]], peer: str, goals: Mapping[str, float]) -> list[Row]:
    """A row for time and one for memory, as the goals say."""
    seconds = {name: statistics.median(run["seconds"] for run in runs[name]) for name in ("ours", peer)}
    peaks = {name: max(run["peak_bytes"] for run in runs[name]) for name in ("ours", peer)}
    rows = [
        Row(
            case,
            f"≥ {goals['time']}x faster",
            seconds[peer] / seconds["ours"],
            goals["time"],
            ours=seconds_text(seconds["ours"]),
            theirs=seconds_text(seconds[peer]),
        )
    ]
    if "memory" in goals:
        rows.append(
            Row(
                f"{case}, peak memory",
                f"≤ {goals['memory']}x",
                peaks["ours"] / peaks[peer],
                goals["memory"],
                is_floor=False,
                ours=bytes_text(peaks["ours"]),
                theirs=bytes_text(peaks[peer]),
            )
        )
    return rows


def _ties(models: list[dict[str, Any]]) -> dict[str, Any]:
    return {"merge_method": "ties", "models": models, "parameters": {"normalize": True}}


def _write_recipe(place: Path, recipe: dict[str, Any]) -> Path:
    path = place / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def _rounds(options: Namespace) -> str:
    return (
        f"median time and largest memory of {options.model_rounds} rounds in turns, in processes of their own after "
        f"all imports, {options.threads} threads, with everybody's result on the disk at the end"
    )

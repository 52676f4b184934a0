"""What PPO learns on the bundled base: a reward that rises near the reference, and one that is gamed without its price.

    python -m benchmarks.ppo_learning [--updates 40] [--recipe ppo-sentiment]

Runs the shipped recipes `recipes/ppo-*.yaml` on the example prompts and prints a table of both curves: some minutes
each on two CPU cores.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ("ppo-sentiment", "ppo-gamed")
ROWS = 8  # of the table; each is a mean over the updates since the one before
COLUMNS = {
    "reward": "objective/scores",
    "gold": "objective/gold",
    "KL, nats an answer": "objective/kl",
    "entropy": "objective/entropy",
    "distinct-2": "distinct_2",
}


def curves(recipe: str, base_dir: Path, updates: int | None) -> list[dict[str, float]]:
    """The metrics of each update of a recipe."""
    import yaml

    from medley.corpus import import_dataset
    from medley.options import from_mapping
    from trainers import TRAINERS, TrainWork

    row, found = TRAINERS["ppo"], []

    def emit(kind: str, **fields: Any) -> None:
        if kind == "metric":
            found.append(fields)
            print(f"{recipe} {fields['step']}: {fields['objective/scores']:.2f}", file=sys.stderr, flush=True)

    values = yaml.safe_load((ROOT / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8"))["options"]
    options = from_mapping(row.options_class, {**values, **({"updates": updates} if updates else {})})
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        import_dataset(ROOT / "examples" / "prompts.jsonl", data_dir)
        work = TrainWork(
            base_dir=base_dir, base_id="benchmark/base", data_dir=data_dir, out_dir=Path(folder), emit=emit
        )
        row.train(options, work)
    return found


def print_table(recipe: str, found: list[dict[str, float]]) -> None:
    """A section with a row for each few updates."""
    step = max(1, len(found) // ROWS)
    print(f"### {recipe}\n\n| updates | {' | '.join(COLUMNS)} |\n|---|{'---:|' * len(COLUMNS)}")
    for start in range(0, len(found), step):
        window = found[start : start + step]
        cells = [f"{fmean(each[name] for each in window):.2f}" for name in COLUMNS.values()]
        print(f"| {start + 1} to {start + len(window)} | {' | '.join(cells)} |")
    print(flush=True)


def main() -> None:
    from medley.lm.bundled import prepare_bundled

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, help="instead of the recipe's own number")
    parser.add_argument("--recipe", choices=RECIPES, help="only this one")
    parser.add_argument("--base", type=Path, help="the bundled base, prepared already")
    arguments = parser.parse_args()
    print(
        "## What PPO learns\n\nThe recipes of the same names on the bundled base and the example prompts, 16 answers "
        "of 24 tokens an update. Each row is a mean over its updates. The gold reward is watched, never optimised.\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        base_dir = arguments.base or prepare_bundled(Path(folder) / "base")
        for recipe in (arguments.recipe,) if arguments.recipe else RECIPES:
            print_table(recipe, curves(recipe, base_dir, arguments.updates))


if __name__ == "__main__":
    main()

"""Merging, against peft, mergekit and the copying of bytes: one table with a row for every goal.

    python -m benchmarks.merge [--cases exact_linear,delta] [--size 4096] [--rounds 5] [--json FILE]

Every contender runs in this one run, on as many threads as the others. Times are medians; "faster" is their time over
ours. Cases: exact_linear, exact_slerp, core, delta (one module in memory, against peft), whole_set (files to file,
against copying), end_to_end, fold, extract (on the bundled base, against mergekit and peft), scaling.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.merge_case import Result, table
from benchmarks.merge_models import end_to_end, extract, fold
from benchmarks.merge_scaling import scaling
from benchmarks.merge_sums import core, delta, exact_linear, exact_slerp
from benchmarks.merge_whole_set import whole_set

CASES: dict[str, Callable[[argparse.Namespace], Result]] = {
    each.__name__: each for each in (exact_linear, exact_slerp, whole_set, core, delta, end_to_end, fold, extract)
}
ALL = (*CASES, "scaling")
TITLE = "## Merging"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(ALL), help="which, separated by commas (default: all)")
    parser.add_argument("--size", type=int, default=4096, help="rows and columns of a module in memory")
    parser.add_argument("--modules", type=int, default=16, help="modules that ours merges, exactly and in core")
    parser.add_argument("--dense-modules", type=int, default=4, help="modules that ours merges in delta")
    parser.add_argument("--peft-modules", type=int, default=2, help="modules that peft merges")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of ours in memory; the median counts")
    parser.add_argument("--layers", type=int, default=32, help="layers of the whole set, seven modules each")
    parser.add_argument("--set-rounds", type=int, default=3, help="rounds of the whole set")
    parser.add_argument("--model-rounds", type=int, default=2, help="rounds on the bundled base")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of every contender")
    parser.add_argument("--base", type=Path, help="folder of the bundled base; unpacked for the run when not given")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args(arguments)
    options.cases = options.cases.split(",")
    unknown = [name for name in options.cases if name not in ALL]
    if unknown:
        parser.error(f"there is no case {unknown[0]}; there are {', '.join(ALL)}")
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    results: dict[str, Result] = {}
    for name in (each for each in CASES if each in options.cases):
        print(f"{name} …", file=sys.stderr, flush=True)
        results[name] = CASES[name](options)
        print(table(results[name].rows), file=sys.stderr, flush=True)
    print(f"{TITLE}\n\n{section(results)}")
    if "scaling" in options.cases:
        print(f"\n{scaling(options)}")
    if options.json:
        rows = {
            name: [vars(row) | {"is_reached": row.is_reached} for row in result.rows]
            for name, result in results.items()
        }
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def section(results: dict[str, Result]) -> str:
    """The table of all cases, and a line on each of how it came about."""
    if not results:
        return ""
    rows = [row for result in results.values() for row in result.rows]
    notes = "\n".join(f"* `{name}`: {result.note}" for name, result in results.items())
    return f"{table(rows)}\n\n{notes}"


if __name__ == "__main__":
    main()

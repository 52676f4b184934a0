"""Every benchmark, one after another, written to docs/benchmarks.md.

    python -m benchmarks.all            (make bench)

Each runs in its own process, so that none profits from another's warm caches. Numbers are ratios against the peer in
the same run; the machine is named by its cores and memory only.
"""

import os
import subprocess
import sys
from pathlib import Path

import psutil

BENCHMARKS = ("registry", "merge", "trainers", "memory", "panes")
ROOT = Path(__file__).resolve().parents[1]
HEADER = """# Benchmarks

Measured by `make bench` on {cores} CPU cores and {memory} GB of memory, without a GPU. Times vary from machine to
machine; the ratios, taken in one run with the contenders in turns, are what counts.

"""


def main() -> None:
    memory = round(psutil.virtual_memory().total / 2**30)
    sections = [HEADER.format(cores=os.cpu_count(), memory=memory)]
    for name in BENCHMARKS:
        print(f"Running benchmarks.{name} …", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        sections.append(run.stdout.strip() + "\n\n")
    (ROOT / "docs" / "benchmarks.md").write_text("".join(sections).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Every benchmark, one after another, written to docs/benchmarks.md.

    python -m benchmarks.all            (make bench)

Sections of the page that come from other, longer benchmarks stay as they are.

Each runs in its own process, so that none profits from another's warm caches. Numbers are ratios against the peer in
the same run; the machine is named by its cores and memory only.
"""

import os
import re
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
    page = ROOT / "docs" / "benchmarks.md"
    sections = sections_of(page.read_text(encoding="utf-8")) if page.exists() else {}
    for name in BENCHMARKS:
        print(f"Running benchmarks.{name} …", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        sections |= sections_of(run.stdout)
    header = HEADER.format(cores=os.cpu_count(), memory=memory)
    page.write_text(header + "\n\n".join(sections.values()) + "\n", encoding="utf-8")


def sections_of(text: str) -> dict[str, str]:
    """Title -> section with its title, in order; what stands before the first title belongs to none."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    return {part.splitlines()[0]: part.strip() for part in parts if part.startswith("## ")}


if __name__ == "__main__":
    main()

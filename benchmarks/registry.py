"""How the registry's speed depends on its size, and what listing costs next to an empty Python.

    python -m benchmarks.registry [--sizes 10 10000] [--rounds 200] [--json results.json]

Calls and whole commands, each measured in one run and in turns: with 10 and with 10,000 versions (once with one version
to a name, once with all under one name), and against `python -c pass`. Versions are written through the registry's own
transaction, without their files, which none of these calls looks at.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub import Parent, Registry, open_registry
from hub.manifest import FileEntry, Manifest, content_id, to_text
from hub.recording import record

BASE_ID = "0" * 64
METADATA = {"rank": 16, "trainer": "sft", "trained_on": "bf16", "metrics": {"eval_loss": 1.25}, "parameters": 4_884_480}

SHAPES: dict[str, Callable[[int], str]] = {
    "one version to a name": lambda index: f"adapter-{index}",
    "all under one name": lambda index: "adapter-0",
}


def fill(registry: Registry, size: int, name_of: Callable[[int], str]) -> None:
    """Record `size` adapters, each with a parent, metadata and two files; every tenth with an alias."""
    connection = registry._connection
    connection.execute("PRAGMA synchronous=OFF")  # the disk's speed is not the question here
    for index in range(size):
        files = (
            FileEntry("adapter_config.json", 700, f"{index:064x}"),
            FileEntry("adapter_model.safetensors", 9, BASE_ID),
        )
        manifest = Manifest("adapter", "org/base", None, "method: sft\n", (Parent(BASE_ID, "base"),), files)
        text = to_text(manifest)
        row = record(connection, name_of(index), content_id(text), manifest, text, METADATA)
        if index % 10 == 0:
            registry.set_alias(row["name"], f"best-{index}", row["number"])


def seconds_of(call: Callable[[], Any], rounds: int) -> float:
    """The median time of a call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure_calls(registries: dict[str, list[Registry]], rounds: int) -> list[dict[str, Any]]:
    """One row for each call and shape: milliseconds at every size, and the ratio of the last to the first."""
    calls: dict[str, Callable[[Registry], Any]] = {
        "list, newest 10": lambda registry: registry.list("adapter", limit=10),  # the same work at every size
        "get name": lambda registry: registry.get("adapter-0"),
        "get alias": lambda registry: registry.get("adapter-0:best-0"),
        "get sha256": lambda registry: registry.get(registry.get("adapter-0").id),
        "parents": lambda registry: registry.parents(registry.get("adapter-0").id),
    }
    rows = []
    for shape, opened in registries.items():
        for name, call in calls.items():
            times = [1000 * seconds_of(lambda: call(registry), rounds) for registry in opened]  # noqa: B023
            rows.append({"call": name, "shape": shape, "ms": times, "ratio": times[-1] / times[0]})
    return rows


def measure_commands(homes: list[Path], sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    """Wall time of whole processes, taken in turns, as multiples of an empty Python."""
    commands = {
        "python -c pass": (homes[0], ["-c", "pass"]),
        "python -c 'import click'": (homes[0], ["-c", "import click"]),
        "python -c 'import hub'": (homes[0], ["-c", "import hub"]),
        "medley --help": (homes[0], ["-m", "medley.cli.main", "--help"]),
    }
    for verb in (["list"], ["show", "adapter-0"]):
        for home, size in zip(homes, sizes, strict=True):
            arguments = ["-m", "medley.cli.main", "adapter", *verb]
            commands[f"medley adapter {' '.join(verb)} ({size:,} versions)"] = (home, arguments)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, (home, arguments) in commands.items():
            environment = {**os.environ, "MEDLEY_HOME": str(home)}
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=True)
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    empty = medians["python -c pass"]
    return [{"command": name, "ms": 1000 * value, "ratio": value / empty} for name, value in medians.items()]


def print_tables(sizes: list[int], calls: list[dict[str, Any]], commands: list[dict[str, Any]]) -> None:
    """Both tables as a Markdown section."""
    print("## Registry\n\nMedians of calls in one process; the ratio is the largest registry's to the smallest's.\n")
    print(f"| call | shape | {' | '.join(f'{size:,} versions, ms' for size in sizes)} | ratio |")
    print("|---|---|" + "---:|" * (len(sizes) + 1))
    for row in calls:
        times = " | ".join(f"{ms:.3f}" for ms in row["ms"])
        print(f"| {row['call']} | {row['shape']} | {times} | {row['ratio']:.2f}x |")
    print("\nGoal: under 2x.\n\nMedians of whole processes, as multiples of an empty Python.\n")
    print("| command | ms | ratio |\n|---|---:|---:|")
    for row in commands:
        print(f"| `{row['command']}` | {row['ms']:.1f} | {row['ratio']:.1f}x |")
    print("\nGoal: listing at most 15x, and under 2x between the two sizes.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 10_000], help="numbers of versions to compare")
    parser.add_argument("--rounds", type=int, default=200, help="calls per median; processes take a tenth of it")
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        registries: dict[str, list[Registry]] = {}
        for shape, name_of in SHAPES.items():
            registries[shape] = [open_registry(Path(folder) / f"{shape}, {size}") for size in arguments.sizes]
            for registry, size in zip(registries[shape], arguments.sizes, strict=True):
                fill(registry, size, name_of)
        calls = measure_calls(registries, arguments.rounds)
        homes = [registry.home for registry in next(iter(registries.values()))]
        commands = measure_commands(homes, arguments.sizes, max(3, arguments.rounds // 10))
    print_tables(arguments.sizes, calls, commands)
    if arguments.json:
        results = {"cores": os.cpu_count(), "sizes": arguments.sizes, "calls": calls, "commands": commands}
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

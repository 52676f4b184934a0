"""Several processes at once: no lost version, no number twice, one winner, nothing collected that is in use."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hub import Registry, open_registry

ROOT = Path(__file__).resolve().parents[2]
MakeFolder = Callable[..., Path]


def race(home: Path, runners: Sequence[Sequence[object]]) -> list[Any]:
    """What each of the processes (action, arguments…) printed, all started at the same moment."""
    processes = []
    for action, *arguments in runners:
        command = [sys.executable, "-m", "tests.hub.racer", str(action), str(home), *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, cwd=ROOT, text=True, **pipes))
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    results = []
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        results.append(json.loads(output))
    return results


def assert_whole(registry: Registry) -> None:
    report = registry.verify()
    assert report.problems == []
    assert report.unreferenced == []
    assert os.listdir(registry.home / "store" / "tmp") == []


@pytest.mark.parametrize("processes", [2, 8])
def test_one_name_different_contents(registry: Registry, make_folder: MakeFolder, processes: int) -> None:
    folders = [make_folder({"f": b"%d" % index}) for index in range(processes)]
    results = race(registry.home, [("publish", "pirate", folder) for folder in folders])
    assert sorted(number for number, _ in results) == list(range(1, processes + 1))
    assert {(version.number, version.id) for version in registry.versions("pirate")} == {
        tuple(each) for each in results
    }
    assert_whole(registry)


@pytest.mark.parametrize("processes", [2, 8])
def test_one_content_one_name(registry: Registry, make_folder: MakeFolder, processes: int) -> None:
    folder = make_folder({"f": b"same" * 100_000})
    results = race(registry.home, [("publish", "pirate", folder)] * processes)
    assert results == [results[0]] * processes
    assert results[0][0] == 1
    assert len(registry.versions("pirate")) == 1
    assert_whole(registry)


def test_one_content_many_names(registry: Registry, make_folder: MakeFolder) -> None:
    folder = make_folder({"f": b"same" * 100_000})
    results = race(registry.home, [("publish", f"pirate-{index}", folder) for index in range(8)])
    assert len({id for _, id in results}) == 1
    assert len(registry.list()) == 8
    assert_whole(registry)


@pytest.mark.parametrize("processes", [2, 8])
def test_one_winner_moves_an_alias(registry: Registry, make_folder: MakeFolder, processes: int) -> None:
    for index in range(processes + 1):
        registry.publish("adapter", "pirate", make_folder({"f": b"%d" % index}))
    registry.set_alias("pirate", "production", 1)
    results = race(registry.home, [("move", number, 1) for number in range(2, processes + 2)])
    assert sorted(results) == ["lost"] * (processes - 1) + ["won"]
    winner = results.index("won") + 2
    assert registry.get("pirate:production").number == winner
    moves = [(move.from_number, move.to_number) for move in registry.alias_history("pirate", "production")]
    assert moves == [(None, 1), (1, winner)]


def test_collecting_beside_publishing_is_safe(registry: Registry, make_folder: MakeFolder) -> None:
    """Four processes publish, read and remove (two of them the same content), two collect without grace."""
    folders = [make_folder({"f": b"%d" % (index // 2) * 5000}) for index in range(4)]
    times = 12
    runners = [("publish often", f"pirate-{index}", folder, times) for index, folder in enumerate(folders)]
    results = race(registry.home, [*runners, ("collect until", 4), ("collect until", 4)])
    assert results[:4] == [True] * 4
    assert sum(results[4:]) > 0  # the collectors really took contents away that were published again
    assert sorted(version.name for version in registry.list()) == [f"pirate-{index}" for index in range(4)]
    assert_whole(registry)


def test_eight_processes_open_a_fresh_home(medley_home: Path) -> None:
    assert race(medley_home, [("open",)] * 8) == [0] * 8
    assert open_registry(medley_home).list() == []

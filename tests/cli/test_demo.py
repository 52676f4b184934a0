"""`medley demo` from an empty home: all that it promises, in one run."""

import json
from pathlib import Path

import pytest

from hub import open_registry
from medley.jobs import open_jobs
from tests.cli.conftest import Run

DATASETS = {"demo-pirate-talk", "demo-tidy-lists"}
TAUGHT = {"demo-pirate": "pirate", "demo-tidy": "tidy-list"}
MERGES = {"demo-linear": "linear", "demo-slerp": "slerp", "demo-ties": "ties", "demo-dare": "dare_ties"}


@pytest.mark.bundled
@pytest.mark.processes
@pytest.mark.timeout(2400)
@pytest.mark.usefixtures("no_worker_stays")
def test_the_whole_loop(medley_home: Path, bundled_base: Path, medley: Run) -> None:
    (medley_home / "bases").mkdir(parents=True)
    (medley_home / "bases" / bundled_base.name).symlink_to(bundled_base)  # unpacked once for all tests
    ran = medley("demo", "--json", timeout_s=2300, OMP_NUM_THREADS="2")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)

    registry = open_registry(medley_home)
    assert {version.name for version in registry.list("dataset")} == DATASETS
    assert {version.name for version in registry.list("adapter")} == {*TAUGHT, *MERGES}
    assert {name: registry.get(name).metadata["method"] for name in MERGES} == MERGES
    for merge in MERGES:
        assert {parent.name for role, parent in registry.parents(registry.get(merge).id)} == set(TAUGHT)
    assert registry.verify().is_ok

    table = result["behaviours"]
    assert list(table) == ["base", *TAUGHT, *MERGES]
    assert all(set(row) == set(TAUGHT.values()) for row in table.values())
    for adapter, behaviour in TAUGHT.items():
        assert table[adapter][behaviour] >= 0.5, table
        assert table["base"][behaviour] < table[adapter][behaviour], table
    assert {merge: set(row) for merge, row in result["kept"].items()} == {key: set(TAUGHT.values()) for key in MERGES}
    for merge, row in result["kept"].items():
        for adapter, behaviour in TAUGHT.items():
            assert row[behaviour] == pytest.approx(table[merge][behaviour] / table[adapter][behaviour])

    assert [check["state"] for check in result["plan"]["checks"] if check["state"] == "refused"] == []
    assert "arXiv:2306.01708" in result["plan"]["card"]
    jobs = open_jobs(medley_home).list(None)
    assert [job.state for job in jobs] == ["done"] * (len(DATASETS) + len(TAUGHT) + len(MERGES))

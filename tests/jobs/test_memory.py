"""The memory that is left in a container: its limit less what is used and needed."""

from pathlib import Path

import pytest

from medley.jobs import memory


@pytest.mark.parametrize(
    ("statistics", "left"),
    [
        ("anon 300\ninactive_file 450\nactive_file 50", 1000 - (800 - 450)),  # second version
        ("inactive_file 10\ntotal_inactive_file 450", 1000 - (800 - 450)),  # first version: with the groups below
        ("anon 300", 200),
    ],
)
def test_files_that_were_read_do_not_count_as_used(
    statistics: str, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for name, text in (("limit", "1000\n"), ("used", "800\n"), ("stat", statistics + "\n")):
        (tmp_path / name).write_text(text)
        names.append(str(tmp_path / name))
    monkeypatch.setattr(memory, "CGROUP_FILES", (tuple(names),))
    assert memory.free_memory("cpu") == left
    assert memory.total_memory("cpu") == 1000
    (tmp_path / "limit").write_text("max\n")
    assert memory.free_memory("cpu") > 1000

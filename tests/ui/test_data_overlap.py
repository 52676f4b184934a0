"""Overlap with test suites on a dataset's page: a dataset or an uploaded file, and all that was compared in view."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from hub import Version
from medley.corpus import import_dataset
from medley.ui import data_overlap
from medley.ui.workspace import Workspace
from tests.ui.conftest import assert_harmless

RUN = "one two three four five six seven eight nine ten eleven twelve thirteen"


def publish(workspace: Workspace, folder: Path, name: str, questions: Sequence[str]) -> Version:
    """A dataset with these questions, each answered by ok."""
    folder.mkdir()
    rows = [{"instruction": question, "output": "ok"} for question in questions]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    import_dataset(folder / "rows.jsonl", folder / "out", eval_share=0)
    return workspace.registry.publish("dataset", name, folder / "out", metadata={"kind": "sft"})


@pytest.fixture
def mine(workspace: Workspace, tmp_path: Path) -> Version:
    return publish(workspace, tmp_path / "mine", "mine", [f"<b>Say</b> {RUN}!", "Another question of few words"])


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    path = tmp_path / "suite.jsonl"
    items = [{"query": f"Now: {RUN}.", "choices": ["a", "b"]}, {"query": "short"}, {"query": RUN[::-1]}]
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def cells(name: str, found: int, compared: int, items: int, rows: int) -> str:
    counts = "".join(f"<td class=m-num>{count}</td>" for count in (found, compared, items, rows))
    return f"<td>{name}</td>{counts}"


def test_every_suite_compared_stays_in_view(
    workspace: Workspace, mine: Version, suite_file: Path, tmp_path: Path
) -> None:
    publish(workspace, tmp_path / "clean", "clean", ["A question that has nothing at all to do with it"])
    first, problem, html = data_overlap.compare(workspace, "mine:v1", None, str(suite_file), [])
    assert (problem, [name for name, _ in first]) == ("", ["suite.jsonl"])
    assert cells("suite.jsonl", 1, 2, 3, 1) in html
    assert f"item 1, row 1: {RUN}" in html
    both, problem, html = data_overlap.compare(workspace, "mine:v1", "clean", None, first)
    assert_harmless(html)
    assert (problem, [name for name, _ in both]) == ("", ["clean:v1", "suite.jsonl"])
    assert cells("clean:v1", 0, 1, 1, 0) in html
    assert cells("suite.jsonl", 1, 2, 3, 1) in html
    again = data_overlap.compare(workspace, "mine:v1", None, str(suite_file), both)[0]
    assert [name for name, _ in again] == ["suite.jsonl", "clean:v1"]


def test_what_cannot_be_compared_is_told_and_the_rest_stays(
    workspace: Workspace, mine: Version, suite_file: Path, tmp_path: Path
) -> None:
    kept = data_overlap.compare(workspace, "mine:v1", None, str(suite_file), [])[0]
    bad = tmp_path / "bad.jsonl"
    bad.write_text("not json\n", encoding="utf-8")
    for suite, file, sentence in (
        (None, None, "Choose a dataset, or upload a file of test items."),
        ("nothing", None, "There is no dataset named &#x27;nothing&#x27;."),
        ("/etc/passwd", None, "/etc/passwd"),
        (None, str(bad), "Line 1 of bad.jsonl is not JSON: Expecting value."),
    ):
        after, problem, html = data_overlap.compare(workspace, "mine:v1", suite, file, kept)
        assert sentence in problem
        assert after == kept
        assert "suite.jsonl" in html


def test_a_visitor_may_not_upload_a_suite(read_only: Workspace, suite_file: Path, mine: Version) -> None:
    compared, problem, html = data_overlap.compare(read_only, "mine:v1", None, str(suite_file), [])
    assert "Uploading is switched off here: this app is read-only." in problem
    assert compared == []
    assert "Nothing compared yet" in html


def test_the_suites_are_the_other_datasets(workspace: Workspace, mine: Version, tmp_path: Path) -> None:
    publish(workspace, tmp_path / "other", "other", ["Why?"])
    assert data_overlap.suites(workspace, "mine") == ["other"]

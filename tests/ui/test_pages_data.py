"""The Data page's handlers: importing, looking at rows, and the very tokens that training will see."""

import json
import re
import shutil
from pathlib import Path

import gradio as gr
import pytest

from hub import Version
from medley.corpus import import_dataset
from medley.ui import data, data_import, data_mix, data_tokens, data_view, home
from medley.ui.workspace import Workspace
from tests.ui.conftest import assert_harmless

SETTINGS = ("auto", 0.1, "all", "cc0-1.0")


def test_an_import_becomes_a_job_and_then_a_dataset(workspace: Workspace, rows_file: Path) -> None:
    job_id, shown, timer = data_import.start(workspace, str(rows_file), "", "", " sums ", *SETTINGS)
    assert "progressbar" in shown
    assert timer.active
    assert workspace.jobs.wait(job_id, 120).state == "done"
    shown, timer, address = data_import.poll(workspace, job_id)
    assert address == "./data?name=sums"
    assert not timer.active
    listed = data.datasets_card(workspace)
    assert ">sums</a>" in listed
    assert "cc0-1.0" in listed


def test_a_file_that_cannot_be_read_is_told_at_its_place(workspace: Workspace, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("not json\n")
    job_id = data_import.start(workspace, str(bad), "", "", "bad", *SETTINGS)[0]
    workspace.jobs.wait(job_id, 120)
    shown, timer, address = data_import.poll(workspace, job_id)
    assert 'role="alert"' in shown
    assert "Traceback" not in shown
    assert (address, timer.active) == ("", False)


@pytest.mark.parametrize(
    ("file", "hub_id", "name", "sentence"),
    [
        (None, "", "sums", "Choose a file, or write the id of a dataset on the Hub."),
        ("x.jsonl", "", " ", "Give the dataset a name, for example &#x27;pirate-talk&#x27;."),
        (None, "examples/pirate.jsonl", "stolen", "is no Hub id. Write it as org/name, or upload the file."),
        (None, "/etc/passwd", "stolen", "is no Hub id. Write it as org/name, or upload the file."),
        (None, "../shared", "stolen", "is no Hub id. Write it as org/name, or upload the file."),
        (None, "~/rows", "stolen", "is no Hub id. Write it as org/name, or upload the file."),
    ],
)
def test_what_is_typed_is_never_opened(
    workspace: Workspace, file: str | None, hub_id: str, name: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])  # where examples/pirate.jsonl exists
    job_id, shown, timer = data_import.start(workspace, file, hub_id, "", name, *SETTINGS)
    assert sentence in shown
    assert (job_id, timer.active, workspace.jobs.list()) == ("", False, [])


def test_a_mixture_is_started_or_refused_at_its_place(workspace: Workspace, dataset: Version) -> None:
    assert "Give the mixture a name" in data_mix.start(workspace, "sums=1", "", "", " ")[1]
    assert "A mixture needs at least two datasets." in data_mix.start(workspace, "sums=1", "", "", "x")[1]
    assert "The share of x must be a number" in data_mix.start(workspace, "sums=1", "x=y", "", "x")[1]
    assert "Rows must be a whole number" in data_mix.start(workspace, "sums=1", "", "-1", "x")[1]
    assert workspace.jobs.list() == []
    workspace.registry.publish("dataset", "again", dataset.path, metadata={"kind": "sft", "is": "the same rows"})
    job_id, shown, timer = data_mix.start(workspace, "sums=1, again=1", "", "4", "both")
    assert ("progressbar" in shown, timer.active) == (True, True)
    assert "again" in (workspace.jobs.wait(job_id, 120).error or "")


def test_a_visitor_cannot_mix(read_only: Workspace) -> None:
    assert "Mixing is switched off here: this app is read-only." in data_mix.start(read_only, "a", "b", "", "x")[1]


def test_a_visitor_cannot_import(read_only: Workspace, rows_file: Path) -> None:
    shown = data_import.start(read_only, str(rows_file), "", "", "sums", *SETTINGS)[1]
    assert "Importing is switched off here: this app is read-only." in shown
    assert "read-only" in data_import.start_examples(read_only)[1]
    assert read_only.jobs.list() == []


def test_a_name_is_suggested_once() -> None:
    assert data_import.suggest_name("/tmp/gradio/x/My Rows (1).jsonl.gz", "") == "my-rows-1"
    assert data_import.suggest_name("/tmp/gradio/x/rows.csv", "mine") == "mine"


def test_the_shipped_examples_are_offered_until_they_are_there(workspace: Workspace) -> None:
    assert data_import.has_examples(workspace)
    job_id = data_import.start_examples(workspace)[0]
    assert workspace.jobs.wait(job_id, 120).state == "done"
    assert not data_import.has_examples(workspace)


def test_rows_are_shown_as_text(workspace: Workspace, dataset: Version) -> None:
    html = data_view.rows_html(workspace, "sums", "train", "", 1)
    assert_harmless(html)
    assert "1 to 8 of 18 rows" in html
    assert html.count("m-learned") == 8
    both = html + data_view.rows_html(workspace, "sums", "train", "", 9) + data_view.rows_html(
        workspace, "sums", "eval", "", 1) + data_view.rows_html(workspace, "sums", "train", "", 17)  # fmt: skip
    assert "&lt;img src=x onerror=alert(1)&gt;" in both


def test_rows_can_be_searched(workspace: Workspace, dataset: Version) -> None:
    assert "No such rows" in data_view.rows_html(workspace, "sums", "train", "nothing like this", 1)
    assert "There is no split" in data_view.rows_html(workspace, "sums", "../train", "", 1)
    assert "row" in data_view.rows_html(workspace, "sums", "train", "", 10_000)


def test_the_tokens_shown_are_those_of_training(workspace: Workspace, dataset: Version, base: Version) -> None:
    from medley.corpus import read_rows
    from medley.corpus.tokens import encode

    html = data_tokens.tokens_html(workspace, "sums", "tiny-base", 3, 1024)
    assert_harmless(html)
    row = read_rows(dataset.path, "train")[2]
    expected = encode(row, data_tokens.tokenizer_of(workspace, "tiny-base"), max_length=1024)
    assert html.count('title="token ') == len(expected.input_ids)
    legend = html.index('<div class="m-tokens"')
    assert html[legend:].count("m-trained") == sum(expected.trained)
    assert html[legend:].count("m-end") == 1


def test_statistics_say_what_is_cut(workspace: Workspace, dataset: Version, base: Version) -> None:
    whole = data_tokens.statistics_html(workspace, "sums", "tiny-base", 1024)
    assert "m-column" in whole
    assert "cut off at" not in whole
    assert "<td>train</td><td class=m-num>18</td><td class=m-num>36</td><td class=m-num>18</td>" in whole
    assert "nearly repeats an earlier row, of 20 compared" in whole
    cut = data_tokens.statistics_html(workspace, "sums", "tiny-base", 40)
    assert "at 40 tokens" in cut
    assert "longest row 40" in cut


def test_a_template_that_could_do_harm_is_not_rendered(
    workspace: Workspace, dataset: Version, tiny_base: Path, tmp_path: Path
) -> None:
    from medley.jobs import add_base

    folder = shutil.copytree(tiny_base, tmp_path / "changed")
    add_base(workspace.registry, folder, "changed", hub_id="test/changed")
    (folder / "chat_template.jinja").write_text("{{ messages.append.__globals__ }}")
    for draw in (data_tokens.statistics_html, data_tokens.checks_html):
        shown = draw(workspace, "sums", "changed", 1024)
        assert 'role="alert"' in shown
        assert "reaches for Python&#x27;s insides. It is not rendered." in shown


PAIR = {"prompt": "Hi", "chosen": "Good <b>", "rejected": "Bad"}


@pytest.mark.parametrize(
    ("record", "chips", "trained"),
    [
        (PAIR, ["chosen", "rejected"], 2),
        ({"prompt": "Hi", "completion": "No", "label": False}, ["bad answer"], 1),
        ({"prompt": "Hi"}, [], 0),
    ],
    ids=["preference", "unpaired", "prompts"],
)
def test_every_kind_is_shown_as_tokens_and_as_rows(
    workspace: Workspace, base: Version, tmp_path: Path, record: dict[str, str], chips: list[str], trained: int
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(record) + "\n")
    import_dataset(tmp_path / "rows.jsonl", tmp_path / "rows")
    workspace.registry.publish("dataset", "rows", tmp_path / "rows", metadata={"rows": 1})
    html = data_tokens.tokens_html(workspace, "rows", "tiny-base", 1, 1024)
    assert_harmless(html)
    assert [chip for chip in ("chosen", "rejected", "good answer", "bad answer") if f">{chip}</span>" in html] == chips
    assert html.count('<div class="m-tokens"') == max(1, len(chips))
    assert html.count(" m-end") == trained + 1  # and once in the legend
    assert "row 1" in data_view.rows_html(workspace, "rows", "train", "hi", 1)
    assert 'role="alert"' not in data_tokens.statistics_html(workspace, "rows", "tiny-base", 1024)
    assert 'role="alert"' not in data_tokens.checks_html(workspace, "rows", "tiny-base", 1024)


def test_the_twelve_mistakes_are_a_table_with_what_was_found(
    workspace: Workspace, dataset: Version, base: Version
) -> None:
    html = data_tokens.checks_html(workspace, "sums", "tiny-base", 40)
    assert_harmless(html)
    assert html.count("<tr>") == 13
    assert re.search(r"\d+ of 18 rows are longer than 40 tokens; of 0 no answer remains\.", html)
    assert html.count(">by design</span>") == 1
    assert html.count(">in training</span>") == 2


def test_a_dataset_page_fills_and_a_wrong_name_is_told(workspace: Workspace, dataset: Version, base: Version) -> None:
    reference, summary, _, choice, suite = data_view.show(workspace, "sums")
    assert reference == "sums:v1"
    assert "20 records in sums.jsonl" in summary
    assert "18 train, 2 eval" in summary
    assert "./train?data=sums" in data_view.head(workspace, "sums")
    assert isinstance(choice, gr.Dropdown)
    assert (suite.choices, suite.value) == ([], None)
    assert "Did you mean" in data_view.show(workspace, "sum")[1]


def test_home_shows_what_there_is(workspace: Workspace, dataset: Version, adapters: tuple) -> None:
    jobs, latest = home.show(workspace)
    assert "No jobs yet" in jobs
    assert "left:v1" in latest
    assert "sums:v1" in latest
    assert "memory free" in home.machine_head(workspace)
    assert "There is no job" in home.stop_job(workspace, "train-nope")[1]

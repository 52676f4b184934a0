"""The whole loop by clicking, in a real browser: what a user sees must be there, stay there, and fit on the page."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ui.browser import AppProcess, Watched, choose, field, limit_steps

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from hub import Registry

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
LONG_S = 60_000  # milliseconds to wait for something that work has to reach


def write_examples(path: Path, rows: int = 24) -> Path:
    lines = [
        json.dumps({"instruction": f"What is {i} plus {i}?", "input": "", "output": f"Arr, {i + i}!"})
        for i in range(rows)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def steps_shown(page: "Page") -> int:
    """The step that the run's status names."""
    match = re.search(r"(\d+) of \d+", page.locator("#run-status").inner_text())
    return int(match[1]) if match else 0


def start_training(tab: Watched, name: str, steps: int) -> str:
    """Fill the form and start; the id of the job, from the address that the app went to."""
    page = tab.open("train?data=sums")
    choose(page, "Base model", "tiny-base")
    field(page, "Name of the adapter").fill(name)
    field(page, "Max length").fill("128")
    field(page, "Batch size").fill("2")
    limit_steps(page, str(steps))
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/train?job=*", timeout=LONG_S)
    return page.url.partition("job=")[2]


def wait_for_step(page: "Page", step: int) -> None:
    page.wait_for_function(
        """(step) => { const found = document.querySelector('#run-status')?.innerText.match(/(\\d+) of \\d+/);
             return found && Number(found[1]) >= step; }""",
        arg=step,
        timeout=LONG_S,
    )


def test_the_whole_loop(
    browser: "Browser",
    tab: Watched,
    app: AppProcess,
    tiny_registry: "Registry",
    make_adapter: Callable[..., Path],
    tmp_path: Path,
) -> None:
    from hub.intake import import_adapter

    import_adapter(tiny_registry, make_adapter("other"), "other")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    tab.open("")
    tab.page.get_by_text("No jobs yet").wait_for()
    tab.look("home-empty", pictures)
    import_by_clicking(tab, write_examples(tmp_path / "sums.jsonl"), pictures)
    train_by_clicking(tab, app, pictures)
    merge_by_clicking(tab, pictures)
    compare_by_clicking(tab, pictures)
    another_tab(tab, app, browser)
    browse(tab, pictures)
    dry_run(tab, pictures)
    tab.open("")
    tab.page.locator("#jobs").get_by_text("sums-short").first.wait_for()
    tab.look("home", pictures)
    assert tab.faults == []
    assert len(list(pictures.glob("*.png"))) == 4 * 15


def import_by_clicking(tab: Watched, file: Path, pictures: Path) -> None:
    page = tab.open("data")
    page.get_by_text("No datasets yet").wait_for()
    page.locator("#import-file input[type=file]").set_input_files(file)
    name = field(page, "Name")
    page.wait_for_function(
        "() => [...document.querySelectorAll('input, textarea')].some((each) => each.value === 'sums')"
    )
    assert name.input_value() == "sums"
    tab.look("data-import", pictures)
    page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_url("**/data?name=sums", timeout=LONG_S)
    page.get_by_text("24 records in sums.jsonl").wait_for()
    tab.look("data-summary", pictures)
    page.get_by_role("tab", name="Rows").click()
    page.get_by_text("1 to 8 of 22 rows").wait_for()
    field(page, "Search").fill("no such words")
    page.get_by_text("No such rows").wait_for()
    page.get_by_role("tab", name="What the model will see").click()
    choose(page, "Base model", "tiny-base")
    page.locator("#data-tokens .m-trained.m-end").first.wait_for(timeout=4 * LONG_S)  # after the bundled base unpacks
    tab.look("data-tokens", pictures)
    page.get_by_role("tab", name="Statistics").click()
    page.locator("#data-statistics .m-column").first.wait_for(timeout=LONG_S)
    tab.look("data-statistics", pictures)
    page.get_by_role("tab", name="Test suites").click()
    page.locator("#overlap-file input[type=file]").set_input_files(file)
    page.get_by_text("sums.jsonl").last.wait_for()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.locator("#data-overlap td").first.wait_for(timeout=LONG_S)
    tab.look("data-suites", pictures)


def train_by_clicking(tab: Watched, app: AppProcess, pictures: Path) -> None:
    job_id = start_training(tab, "sums-talker", 3000)
    page = tab.page
    wait_for_step(page, 5)
    page.reload()
    wait_for_step(page, 8)
    before = steps_shown(page)
    assert page.locator("#run-curve path.m-line").count() >= 1
    app.kill()
    app.start()
    tab.open(f"train?job={job_id}")
    wait_for_step(page, before + 5)
    tab.look("train-running", pictures)
    tab.open("")
    page.locator("#jobs").get_by_text("running").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.locator("#jobs").get_by_text("stopped").wait_for(timeout=LONG_S)
    tab.open(f"train?job={job_id}")
    page.get_by_role("button", name="Go on from the last checkpoint").wait_for()
    tab.look("train-stopped", pictures)
    start_training(tab, "sums-short", 6)
    page.locator("#run-head").get_by_text("done").wait_for(timeout=LONG_S)
    page.get_by_role("link", name="Compare with its base").wait_for()
    tab.open("train")
    page.locator("#train-runs").get_by_text("sums-short").first.wait_for()
    tab.look("train", pictures)


def merge_by_clicking(tab: Watched, pictures: Path) -> None:
    page = tab.open("merge?adapters=sums-short=0.7%2Bother=0.3")
    page.locator("#merge-pictures .m-heat").wait_for(timeout=LONG_S)
    page.locator("#merge-recipe").get_by_text("weight: 0.7").wait_for()
    weight = field(page, "number input for sums-short")
    for typed, taken in (("7", "2"), ("0.7", "0.7"), ("", "0.7")):  # what is shown is what the recipe says
        weight.fill(typed)
        weight.blur()
        assert weight.input_value() == taken
        page.locator("#merge-recipe").get_by_text(f"weight: {float(taken)}").wait_for()
    assert page.locator(".toast-body").count() == 0
    page.get_by_label("What they write").check()
    page.locator("#merge-pictures").get_by_text("Shared output directions").wait_for()
    field(page, "number input for Cut every module to rank").fill("3")
    page.keyboard.press("Tab")
    page.locator("#merge-spectrum").get_by_text("Rank 3 keeps").wait_for()
    page.locator("#merge-recipe").get_by_text("rank: 3").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "recipe.yaml"
    assert Path(download.value.path()).read_text().strip() == page.locator("#merge-recipe pre").inner_text().strip()
    page.reload()
    page.locator("#merge-recipe").get_by_text("rank: 3").wait_for()
    field(page, "Prompt of the preview").fill("What is 2 plus 2?")
    page.get_by_role("button", name="Ask the blend").click()
    page.locator("#blend-answer").get_by_text("tokens/s").wait_for(timeout=2 * LONG_S)
    page.locator("#blend-answer").get_by_text("sums-short=0.7+other=0.3").wait_for()
    page.locator("#blend-stop:disabled").wait_for(timeout=2 * LONG_S)
    choose(page, "Method", "ties · entry by entry")
    page.locator("#merge-recipe").get_by_text("merge_method: ties").wait_for()
    field(page, "Name of the merge").fill("blended")
    page.get_by_role("button", name="Merge", exact=True).click()
    page.locator("#merge-progress").get_by_text("blended:v1 is made").wait_for(timeout=LONG_S)
    page.get_by_role("link", name="Compare with its parents").wait_for()
    assert page.locator("button.primary, a.m-primary").locator("visible=true").count() == 1
    assert "method=ties" in page.url
    tab.look("merge", pictures)
    page.get_by_role("button", name="Open in Compare").click()
    page.wait_for_url("**/compare?panes=*", timeout=LONG_S)


def compare_by_clicking(tab: Watched, pictures: Path) -> None:
    page = tab.open("compare?panes=base,blended,sums-short=0.5%2Bother=0.5")
    page.get_by_text("Weights of pane C").first.wait_for()
    field(page, "Prompt").fill("What is 2 plus 2? <img src=x onerror=\"document.title='run'\">")
    page.get_by_role("button", name="Ask", exact=True).click()
    for pane in range(3):
        page.locator(f"#answer-{pane}").get_by_text("tokens/s").wait_for(timeout=2 * LONG_S)
    page.get_by_role("button", name="Stop pane A").wait_for(state="hidden", timeout=2 * LONG_S)
    assert page.locator(".m-answer img").count() == 0
    assert page.title() == "Medley"
    tab.look("compare", pictures)


def another_tab(tab: Watched, app: AppProcess, browser: "Browser") -> None:
    """What one tab asks is nothing to another, even with the same panes."""
    first_answers = tab.page.locator("#answer-1").inner_text()
    other = Watched(browser, app.url)
    page = other.open("compare?panes=base,blended")
    page.locator("#answer-1").get_by_text("The answer appears here.").wait_for()
    field(page, "Prompt").fill("Another question")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#answer-1").get_by_text("tokens/s").wait_for(timeout=LONG_S)
    page.get_by_role("button", name="Stop pane B").wait_for(state="hidden", timeout=2 * LONG_S)
    assert tab.page.locator("#answer-1").inner_text() == first_answers
    assert other.faults == []
    other.close()


def browse(tab: Watched, pictures: Path) -> None:
    page = tab.open("registry")
    field(page, "Search").fill("blend")
    page.locator("#registry-rows").get_by_text("sums-talker").wait_for(state="hidden")
    tab.look("registry", pictures)
    page.get_by_role("link", name="blended").click()
    page.locator("#lineage svg a").nth(3).wait_for()
    field(page, "Alias").fill("production")
    page.get_by_role("button", name="Point it here").click()
    page.get_by_text("blended:production is now v1.").wait_for()
    page.get_by_role("button", name="Verify files").click()
    page.get_by_text("Every file is what was published.").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as zip").click()
    assert download.value.suggested_filename == "blended-v1.zip"
    tab.look("version", pictures)


def dry_run(tab: Watched, pictures: Path) -> None:
    page = tab.open("publish?name=blended")
    page.locator("#publish-plan").get_by_text("adapter_model.safetensors").wait_for()
    field(page, "Repo on the Hub").fill("ada/blended")
    page.get_by_role("button", name="Dry run").click()
    page.get_by_text(
        re.compile("A push would upload .* repo ada/blended and tag them v1. Nothing was sent.")
    ).wait_for()
    tab.look("publish", pictures)
    page = tab.open("publish?name=sums")
    page.locator("#publish-plan").get_by_text("train.jsonl").wait_for()
    page.get_by_role("button", name="Dry run").click()
    page.get_by_text("to the private dataset repo your-name/sums and tag them v1. Nothing was sent.").wait_for()

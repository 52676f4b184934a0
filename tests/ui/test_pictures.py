"""The pictures in docs/pictures: every page with real content, made by the demo's own steps on the bundled base.

Takes some minutes, so it runs only when asked: MEDLEY_PICTURES=1 python -m pytest tests/ui/test_pictures.py
"""

import os
from pathlib import Path

import pytest

from tests.ui.browser import ROOT, AppProcess, Watched, field, open_browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.bundled,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.environ.get("MEDLEY_PICTURES") != "1", reason="pictures are made with MEDLEY_PICTURES=1"),
]
PICTURES = ROOT / "docs" / "pictures"
WAIT_S = 300_000


@pytest.fixture
def full_home(medley_home: Path) -> Path:
    """A home in which the demo has run; MEDLEY_PICTURES_HOME names one that is kept between two runs."""
    from hub import open_registry
    from medley.jobs import JobSpec, open_jobs
    from medley.jobs.demo import make_artifacts

    home = Path(os.environ.get("MEDLEY_PICTURES_HOME") or medley_home)
    registry, jobs = open_registry(home), open_jobs(home)

    def run(spec: JobSpec) -> str:
        ended = jobs.wait(jobs.submit(spec).id, 1800)
        assert ended.state == "done", ended.error
        return ended.result

    if not registry.exists("demo-dare"):
        make_artifacts(registry, run)
        registry.set_alias("demo-ties", "production", 1)
    return home


def test_take_pictures(full_home: Path, tmp_path: Path) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    app = AppProcess(full_home, tmp_path / "app.log")
    app.start()
    try:
        with open_browser() as browser:
            tab = Watched(browser, app.url)
            take_all(tab, full_home)
            assert tab.faults == []
    finally:
        app.kill()


def take_all(tab: Watched, home: Path) -> None:
    page = tab.open("")
    page.get_by_text("memory free").wait_for(timeout=WAIT_S)
    take(tab, "home")
    page = tab.open("data?name=demo-pirate-talk")
    page.get_by_role("tab", name="What the model will see").click()
    page.locator("#data-tokens .m-end").first.wait_for(timeout=WAIT_S)
    take(tab, "data")
    tab.open(f"train?job={first_training(home)}")
    page.locator("#run-curve path.m-line").first.wait_for()
    take(tab, "train-run")
    tab.open("train?data=demo-pirate-talk")
    page.get_by_text("The same from a terminal").wait_for()
    take(tab, "train")
    tab.open("merge?adapters=demo-pirate=0.7%2Bdemo-tidy=0.3&method=linear")
    page.locator("#merge-pictures .m-heat").wait_for(timeout=WAIT_S)
    take(tab, "merge")
    tab.open("compare?panes=base,demo-pirate,demo-pirate=0.7%2Bdemo-tidy=0.3")
    page.get_by_text("Weights of pane C").first.wait_for()
    page.get_by_text("How answers are drawn").click()
    field(page, "Max new tokens").fill("70")
    field(page, "Repetition penalty").fill("1.15")
    page.get_by_text("How answers are drawn").click()
    field(page, "Prompt").fill("How do I wash a wool sweater?")
    page.get_by_role("button", name="Ask", exact=True).click()
    for pane in range(3):
        page.locator(f"#answer-{pane}").get_by_text("tokens/s").wait_for(timeout=WAIT_S)
        page.get_by_role("button", name=f"Stop pane {'ABC'[pane]}").wait_for(state="hidden", timeout=WAIT_S)
    take(tab, "compare")
    tab.open("registry")
    page.get_by_role("link", name="demo-ties").wait_for()
    take(tab, "registry")
    tab.open("registry?name=demo-ties")
    page.locator("#lineage svg a").nth(3).wait_for()
    take(tab, "version")
    tab.open("publish?name=demo-ties&repo=your-name/demo-ties")
    page.locator("#publish-plan").get_by_text("adapter_model.safetensors").wait_for()
    page.get_by_role("button", name="Dry run").click()
    page.get_by_text("Nothing was sent.").wait_for()
    take(tab, "publish")


def first_training(home: Path) -> str:
    from medley.jobs import open_jobs

    return next(job.id for job in open_jobs(home).list() if job.kind == "train")


def take(tab: Watched, name: str) -> None:
    """The page in both themes, as wide as a laptop's window, and light on a phone."""
    page = tab.page
    page.mouse.move(0, 0)
    page.evaluate("() => window.scrollTo(0, 0)")
    for theme in ("light", "dark"):
        page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
        page.wait_for_timeout(300)
        page.screenshot(path=PICTURES / f"{name}-{theme}.png")
    page.evaluate("() => document.body.classList.remove('dark')")

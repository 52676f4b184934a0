"""The pictures in docs/pictures: every page with real content, made by the demo's own steps on the bundled base.

Takes some minutes, so it runs only when asked: MEDLEY_PICTURES=1 python -m pytest tests/ui/test_pictures.py
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ui.browser import ROOT, AppProcess, Watched, field, open_browser

if TYPE_CHECKING:
    from hub import Registry
    from medley.jobs import JobSpec

pytestmark = [
    pytest.mark.browser,
    pytest.mark.bundled,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.environ.get("MEDLEY_PICTURES") != "1", reason="pictures are made with MEDLEY_PICTURES=1"),
]
PAIRWISE = {"max_length": 128, "batch_size": 4, "eval_every": 4, "rank": 8}
ALIGNED = {  # trainer -> the name it makes, and how
    "reward": ("demo-judge", {**PAIRWISE, "max_steps": 16, "learning_rate": 5e-4}),
    "dpo": ("demo-brief", {**PAIRWISE, "max_steps": 12, "learning_rate": 1e-4, "kl_samples": 4, "kl_tokens": 24}),
    "ppo": (
        "demo-cheerful",
        {
            "updates": 14,
            "batch_size": 8,
            "max_new_tokens": 20,
            "rank": 8,
            "learning_rate": 3e-4,
            "reward": ("sentiment",),
            "gold_reward": ("no-repetition",),
            "sample_every": 4,
        },
    ),
}
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
    align(registry, run)
    return home


def align(registry: "Registry", run: Callable[["JobSpec"], str]) -> None:
    """A reward model, a policy that follows preferences and one that is rewarded, on the shipped preferences."""
    from medley.jobs import import_spec, train_spec

    pairs = "demo-preferences"
    if not registry.exists(pairs):
        run(import_spec(registry, str(ROOT / "examples" / "preferences.jsonl"), name=pairs, licence="CC0-1.0"))
    for trainer, (name, options) in ALIGNED.items():
        if not registry.exists(name):
            run(train_spec(registry, trainer, data=pairs, name=name, options=options))


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
    take_trainings(tab, home)
    take_merge(tab)
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


def take_merge(tab: Watched) -> None:
    """Two adapters with their weights, and what a cut to rank 12 keeps."""
    page = tab.open("merge?adapters=demo-pirate=0.7%2Bdemo-tidy=0.3&method=linear")
    page.locator("#merge-pictures .m-heat").wait_for(timeout=WAIT_S)
    field(page, "number input for Cut every module to rank").fill("12")
    page.keyboard.press("Tab")
    page.locator("#merge-spectrum").get_by_text("Rank 12 keeps").wait_for()
    page.locator("#merge-findings").get_by_text("at most 12").wait_for()
    take(tab, "merge")


def take_trainings(tab: Watched, home: Path) -> None:
    """The form for two goals, a run of each kind, and two runs over each other."""
    page = tab.page
    for name, query in (("train", "data=demo-pirate-talk"), ("train-reward", "trainer=ppo&data=demo-preferences")):
        tab.open(f"train?{query}")
        page.locator("#train-plan .m-stack").wait_for(timeout=WAIT_S)
        take(tab, name)
    for name, adapter in (
        ("train-run", "demo-tidy"),
        ("train-run-ppo", "demo-cheerful"),
        ("train-run-dpo", "demo-brief"),
    ):
        tab.open(f"train?job={training_of(home, adapter)}")
        page.locator("#run-curve path.m-line").first.wait_for()
        take(tab, name)
    tab.open(f"train?job={training_of(home, 'demo-pirate')}&with={training_of(home, 'demo-tidy')}")
    page.locator("#run-beside table").first.wait_for()
    take(tab, "train-compared")


def training_of(home: Path, adapter: str) -> str:
    """The job that made an adapter."""
    from medley.jobs import open_jobs

    return next(job.id for job in open_jobs(home).list() if job.kind == "train" and job.output_name == adapter)


def take(tab: Watched, name: str) -> None:
    """The page in both themes, as wide as a laptop's window."""
    page = tab.page
    page.mouse.move(0, 0)
    page.evaluate("() => window.scrollTo(0, 0)")
    for theme in ("light", "dark"):
        page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
        page.wait_for_timeout(300)
        page.screenshot(path=PICTURES / f"{name}-{theme}.png")
    page.evaluate("() => document.body.classList.remove('dark')")

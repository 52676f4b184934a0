"""Every goal of the Train page by clicking: a reward model, a policy that it rewards, one that follows preferences."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ui.browser import Watched, choose, field, limit_steps

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from hub import Registry

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
LONG_S = 90_000  # milliseconds to wait for something that work has to reach


@pytest.fixture
def pairs(tiny_registry: "Registry", tmp_path: Path) -> None:
    """A preference dataset of 20 pairs, `pairs`."""
    from medley.corpus import import_dataset

    rows = [{"prompt": f"Say {i}.", "chosen": f"It is {i}, my friend.", "rejected": f"{i}."} for i in range(20)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = import_dataset(file, tmp_path / "imported", licence="cc0-1.0")
    metadata = {"kind": report.kind, "rows": sum(report.rows.values()), "splits": dict(report.rows)}
    tiny_registry.publish("dataset", "pairs", tmp_path / "imported", metadata=metadata)


def test_every_goal(tab: Watched, pairs: None, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    page = tab.open("train")
    page.get_by_text("No dataset for this yet").wait_for()
    swap_goals(page)
    reward = train_reward_model(tab, pictures)
    page.get_by_role("link", name="Use as reward in PPO").click()
    page.wait_for_url("**/train?trainer=ppo&reward=judge")
    by_reward = start(page, "by-reward", {"Updates": "2", "Batch size": "2", "Max new tokens": "4"}, "--reward judge")
    page = tab.open("train?trainer=dpo&data=pairs")
    by_pairs = start(page, "by-pairs", {"Max length": "64"}, "train dpo", max_steps="3")
    wait_until_done(page)
    tab.look("run-dpo", pictures)
    assert titles(page) == ["Loss", "Implicit rewards", "Margin", "Accuracy"]
    compare(tab, by_pairs, reward, pictures)
    tab.open(f"train?job={by_reward}")
    wait_until_done(page)
    assert titles(page)[:2] == ["Reward", "KL to the reference"]
    page.locator("#run-samples").get_by_text("score").first.wait_for()
    tab.look("run-ppo", pictures)
    score(tab, pictures)
    assert tab.faults == []


def swap_goals(page: "Page") -> None:
    """Each goal shows its own fields, and nothing above them moves."""
    top = page.locator("#train-goal").bounding_box()
    for goal, trainer in (
        ("Align by reward", "ppo"),
        ("Align by preferences", "dpo"),
        ("Train a reward model", "reward"),
    ):
        page.get_by_role("radio", name=goal).check()
        page.locator(f"#preset-{trainer}").wait_for()
        page.locator("#train-plan").get_by_text(f"medley train {trainer}").wait_for()
        page.locator("#train-plan").get_by_text("--data pairs").wait_for()
        assert page.locator("#train-goal").bounding_box() == top
        assert page.get_by_text("No dataset for this yet").count() == 0


def start(page: "Page", name: str, values: dict[str, str], told: str, *, max_steps: str = "") -> str:
    """Fill the form and start; the id of the job."""
    page.locator("#train-plan").get_by_text(told).wait_for()
    choose(page, "Base model", "tiny-base")
    field(page, "Name of the adapter").fill(name)
    for label, value in values.items():
        field(page, label).fill(value)
    if max_steps:
        limit_steps(page, max_steps)
    page.locator("#train-plan .m-stack").wait_for()
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/train?job=*", timeout=LONG_S)
    return page.url.partition("job=")[2]


def train_reward_model(tab: Watched, pictures: Path) -> str:
    page = tab.page
    page.get_by_role("radio", name="Train a reward model").check()
    tab.look("train-reward", pictures)
    job_id = start(page, "judge", {"Max length": "64", "Batch size": "4"}, "train reward", max_steps="2")
    wait_until_done(page)
    page.locator("#run-status").get_by_text("on held-out pairs").wait_for()
    assert "Accuracy" in titles(page)
    return job_id


def wait_until_done(page: "Page") -> None:
    page.locator("#run-head").get_by_text("done", exact=True).wait_for(timeout=LONG_S)
    page.locator("#run-curve path.m-line").first.wait_for()


def titles(page: "Page") -> list[str]:
    """Of the charts that are not folded away."""
    return page.locator("#run-curve h3").all_inner_texts()


def compare(tab: Watched, ours: str, theirs: str, pictures: Path) -> None:
    """Another run laid over the one on the page; the address leads back to both."""
    page = tab.page
    field(page, "Lay another run over it").click()
    page.get_by_role("option", name=theirs).click()
    page.locator("#run-beside").get_by_text("What differs in their settings").wait_for()
    page.wait_for_url(f"**/train?job={ours}&with={theirs}")
    tab.open(f"train?job={ours}&with={theirs}")
    page.locator("#run-beside tr", has_text="Trainer").get_by_text("dpo").wait_for()
    assert page.locator("#run-curve path.m-dashed").count() > 0
    page.get_by_role("button", name="More curves").click()
    page.locator("#run-more path.m-line").first.wait_for()
    tab.look("run-compared", pictures)


def score(tab: Watched, pictures: Path) -> None:
    page = tab.open("registry?name=judge")
    field(page, "Prompt").fill("Say 3.")
    field(page, "Answer A").fill("It is 3, my friend.")
    field(page, "Answer B").fill("3.")
    page.get_by_role("button", name="Score", exact=True).click()
    page.locator("#scores").get_by_text("It prefers").wait_for(timeout=LONG_S)
    tab.look("score", pictures)

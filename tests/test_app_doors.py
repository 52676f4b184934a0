"""Doors that no button leads to: hiding a control is not enough, because every event of a page can be sent by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import app
from hub import Registry, open_registry
from medley.jobs import open_jobs
from tests.tiny_model import TINY_BASE_ID

PAGES = ("", "data", "train", "merge", "compare", "registry", "publish")


@pytest.fixture
def registry(medley_home: Path, make_adapter: Callable[..., Path]) -> Registry:
    """Two adapters, one with an alias: something that could be removed, merged or moved."""
    registry = open_registry(medley_home)
    for seed, name in enumerate(("pirate", "tidy")):
        registry.publish("adapter", name, make_adapter(name, seed=seed), base=TINY_BASE_ID)
    registry.set_alias("pirate", "production", 1)
    return registry


@pytest.fixture
def visitor(registry: Registry) -> TestClient:
    """Somebody at a read-only app, who gets the errors of handlers as answers."""
    server = app.build_server(read_only=True)
    return TestClient(server, base_url="http://localhost:7860", raise_server_exceptions=False)


def contents(registry: Registry) -> tuple[list[tuple[str, tuple[str, ...]]], list[str]]:
    versions = [(version.label, version.aliases) for version in registry.list(limit=None)]
    return versions, [job.id for job in open_jobs(registry.home).list(None)]


def plausible_value(component: dict[str, Any]) -> Any:
    """What a visitor could have filled in: the first choices there are, a word in every empty field."""
    props = component["props"]
    value, choices = props.get("value"), props.get("choices")
    if value or isinstance(value, (bool, int, float)):
        return value
    if choices:
        return [choice[1] for choice in choices[:2]] if props.get("multiselect") else choices[0][1]
    return "pirate" if component["type"] == "textbox" else value


def test_no_event_has_a_name_to_call_it_by(visitor: TestClient) -> None:
    assert visitor.get("/gradio_api/info").json() == {"named_endpoints": {}, "unnamed_endpoints": {}}


def test_looking_changes_nothing(visitor: TestClient, registry: Registry) -> None:
    before = contents(registry)
    for page in PAGES:
        for query in ("", "?name=pirate&remove=1", "?job=x&stop=1", "?adapters=pirate,tidy&start=1"):
            assert visitor.get(f"/{page}{query}").status_code == 200
    assert contents(registry) == before


def test_every_event_of_a_read_only_app_sent_by_hand_changes_nothing(visitor: TestClient, registry: Registry) -> None:
    before = contents(registry)
    config = visitor.get("/config").json()
    values = {component["id"]: plausible_value(component) for component in config["components"]}
    answers = []
    for event in config["dependencies"]:
        if event["backend_fn"]:
            data = [values[each] for each in event["inputs"]]
            call = {"data": data, "fn_index": event["id"], "session_hash": "x"}
            answers.append(visitor.post("/gradio_api/run/predict", json=call).text)
    assert contents(registry) == before
    assert len(answers) > 40
    for what in ("Training", "Stopping a run"):  # events arrive where they are refused
        assert any(f"{what} is switched off here" in answer for answer in answers), what

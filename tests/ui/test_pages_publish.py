"""The Publish page's handlers: the plan before anything leaves, and a push whose token is nowhere afterwards."""

from pathlib import Path

import gradio as gr
import pytest

from hub import Registry, Version
from medley.ui import publish_push
from medley.ui.workspace import Workspace
from tests.hub.models import publish_mixed
from tests.hub_server import HubServer
from tests.ui.conftest import assert_harmless

TOKEN = "hf_" + "abcdefghij" * 4


def test_the_plan_shows_files_and_checks(workspace: Workspace, adapters: tuple) -> None:
    card, written = publish_push.write_card(workspace, "left", "ada/left", "", "")
    assert card == written
    assert "ada/left" in card
    html = publish_push.plan_html(workspace, "left", "ada/left", "private", card)
    assert_harmless(html)
    assert "adapter_model.safetensors" in html
    assert "m-good" in html
    notice = publish_push.dry_run(workspace, "left", "ada/left", "public", card)[1]
    assert "to the public repo ada/left and tag them v1. Nothing was sent." in notice


def test_a_card_changed_by_hand_is_kept(workspace: Workspace, adapters: tuple) -> None:
    assert publish_push.write_card(workspace, "right", "", "my own words", "as it was written") == (
        gr.skip(),
        gr.skip(),
    )


@pytest.mark.parametrize(
    ("name", "repo", "token", "sentence"),
    [
        ("left", "", TOKEN, "Name the repo on the Hub first"),
        ("left", "ada/left", "", "needs your access token"),
        ("left", "no-slash", TOKEN, "no repo on the Hub"),
        ("nobody", "ada/left", TOKEN, "There is no version named"),
    ],
)
def test_a_push_that_cannot_be_is_told(
    workspace: Workspace, adapters: tuple, name: str, repo: str, token: str, sentence: str
) -> None:
    steps = list(publish_push.publish(workspace, name, repo, "private", "", token))
    assert sentence in steps[-1][0].replace("&#x27;", "'")
    assert all(token == "" for _, token in steps)


def test_a_push_arrives_and_its_token_is_nowhere(
    medley_home: Path,
    adapters: tuple,
    hub_server: HubServer,
    capfd: pytest.CaptureFixture,
) -> None:
    workspace = Workspace(medley_home, hub_endpoint=hub_server.url)
    token = hub_server.owner.token
    card = publish_push.write_card(workspace, "left", "ada/left", "", "")[0]
    steps = list(publish_push.publish(workspace, "left", "ada/left", "private", card, token))
    assert "Published as ada/left, tagged v1" in steps[-1][0]
    assert hub_server.store.repos["model", "ada/left"].is_private is True
    assert token not in str(steps) + "".join(capfd.readouterr())
    for path in medley_home.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path


def test_what_the_hub_refuses_is_told(medley_home: Path, adapters: tuple, hub_server: HubServer) -> None:
    workspace = Workspace(medley_home, hub_endpoint=hub_server.url)
    steps = list(publish_push.publish(workspace, "left", "ada/left", "private", "", TOKEN))
    assert 'role="alert"' in steps[-1][0]
    assert TOKEN not in str(steps)


@pytest.fixture
def model(registry: Registry, tmp_path: Path) -> Version:
    """A merged model of two shards; what it was made from is in the registry too."""
    return publish_mixed(registry, tmp_path / "models", licence="mit")


def test_everything_that_can_be_published_is_offered(
    workspace: Workspace, adapters: tuple, model: Version, dataset: Version
) -> None:
    offered = publish_push.choices(workspace)
    assert offered == [
        ("right", "right"),
        ("left", "left"),
        ("mixed (model)", "mixed"),
        ("half (model)", "half"),
        ("sums (dataset)", "sums"),
    ]
    name, _, card, written, plan = publish_push.opened(workspace, "sums", "")
    assert (name.value, card == written) == ("sums", True)
    assert "train.jsonl" in plan


def test_each_kind_has_its_own_card_and_plan(workspace: Workspace, model: Version, dataset: Version) -> None:
    for name, file, repo_type, metadata in (
        ("mixed", "model.safetensors.index.json", "", "base_model_relation: merge"),
        ("sums", "train.jsonl", "dataset ", "task_categories:"),
    ):
        card, _ = publish_push.write_card(workspace, name, f"ada/{name}", "", "")
        html = publish_push.plan_html(workspace, name, f"ada/{name}", "private", card)
        assert_harmless(html)
        assert metadata in card
        assert file in html
        assert "m-bad" not in html
        notice = publish_push.dry_run(workspace, name, f"ada/{name}", "private", card)[1]
        assert f"to the private {repo_type}repo ada/{name} and tag them v1. Nothing was sent." in notice


def test_a_card_of_another_kind_is_refused(workspace: Workspace, model: Version, dataset: Version) -> None:
    """The card that stood there for the dataset does not go out with the model."""
    card, _ = publish_push.write_card(workspace, "sums", "", "", "")
    notice = publish_push.dry_run(workspace, "mixed", "ada/mixed", "private", card)[1]
    assert "must name the base, medley-tests/tiny-llama, in the list" in notice


def test_a_dataset_arrives(medley_home: Path, dataset: Version, hub_server: HubServer) -> None:
    workspace = Workspace(medley_home, hub_endpoint=hub_server.url)
    card = publish_push.write_card(workspace, "sums", "ada/sums", "", "")[0]
    steps = list(publish_push.publish(workspace, "sums", "ada/sums", "private", card, hub_server.owner.token))
    assert f"{hub_server.url}/datasets/ada/sums" in steps[-1][0]
    assert hub_server.store.repos["dataset", "ada/sums"].is_private is True

"""The Publish page's handlers: the plan before anything leaves, and a push whose token is nowhere afterwards."""

from pathlib import Path

import gradio as gr
import pytest

from medley.ui import publish_push
from medley.ui.workspace import Workspace
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
        ("nobody", "ada/left", TOKEN, "There is no adapter named"),
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

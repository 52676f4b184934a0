"""push and pull as processes, with the unmodified Hub client, against the Hub server of the tests."""

import json
from pathlib import Path

import pytest

from hub import open_registry
from tests.cli.conftest import Here, Run, assert_refused, kept_in
from tests.hub_server import HubServer
from tests.tiny_model import TINY_BASE_ID


def hub(server: HubServer, token: str = "") -> dict[str, str]:
    """The environment that points the client at the server."""
    return {"HF_ENDPOINT": server.url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}


@pytest.mark.processes
def test_there_and_back_again(stocked: Path, medley: Run, hub_server: HubServer) -> None:
    token = hub_server.owner.token
    pushed = medley("push", "left", "--to", "ada/left", "--private", check=True, **hub(hub_server, token))
    repo = hub_server.store.repos["model", "ada/left"]
    commit = repo.head().oid
    assert pushed.stdout.startswith("ada/left (private)\n\nFILE ")
    assert pushed.stdout.endswith(
        f"Published {hub_server.url}/ada/left at {commit[:8]}, tagged v1; every file was checked.\n"
    )
    assert pushed.stderr.splitlines()[-1] == "Committing"
    assert repo.is_private

    again = medley("push", "left", "--to", "ada/left", "--private", "--json", check=True, **hub(hub_server, token))
    assert {key: json.loads(again.stdout)[key] for key in ("commit", "tag", "visibility", "is_new")} == {
        "commit": commit,
        "tag": "v1",
        "visibility": "private",
        "is_new": False,
    }
    pulled = medley("pull", "ada/left", "--name", "back", "--revision", "v1", check=True, **hub(hub_server, token))
    back, left = open_registry(stocked).get("back"), open_registry(stocked).get("left")
    assert pulled.stdout == f"Pulled back:v1 (sha256:{back.id[:8]}), base {TINY_BASE_ID}.\n"
    assert back.metadata["source"] == f"ada/left@{commit}"
    weights = "adapter_model.safetensors"
    assert (back.path / weights).read_bytes() == (left.path / weights).read_bytes()

    for ran in (pushed, again, pulled):
        assert token not in ran.stdout + ran.stderr
    assert not any(token.encode() in path.read_bytes() for path in stocked.rglob("*") if path.is_file())


@pytest.mark.processes
def test_what_the_hub_refuses_is_one_line(stocked: Path, medley: Run, hub_server: HubServer) -> None:
    before = kept_in(stocked)
    token = hub_server.stranger.token
    pushed = medley("push", "left", "--to", "ada/left", **hub(hub_server, token))
    assert pushed.returncode == 1
    assert pushed.stderr.startswith("Error: ")
    assert pushed.stderr.count("\n") == 1
    assert "ada/left" in pushed.stderr
    pulled = medley("pull", "ada/nothing", "--name", "x", "--json", **hub(hub_server, token))
    assert (pulled.returncode, pulled.stdout, pulled.stderr.count("\n")) == (1, "", 1)
    assert token not in pushed.stdout + pushed.stderr + pulled.stderr
    assert kept_in(stocked) == before


def test_a_dry_run_needs_no_network_and_no_token(stocked: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    before = kept_in(stocked)
    ended = here("push", "left", "--to", "ada/left", "--dry-run", ok=True)
    assert ended.out.startswith("ada/left (public)\n\nFILE                       SIZE    SHA256\nREADME.md")
    assert ended.out.endswith("\n\nA dry run: nothing was sent.\n")
    plan = here("push", "left", "--to", "ada/left", "--dry-run", "--json", ok=True).json
    assert [file["path"] for file in plan["files"]] == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert "license: mit\n" in plan["card"]
    assert kept_in(stocked) == before
    refused = here("push", "left", "--to", "ada/left")
    assert (refused.code, refused.err) == (
        1,
        "Error: Publishing needs a token with write access: create one at huggingface.co/settings/tokens "
        "and set HF_TOKEN for this command.\n",
    )


def test_a_plan_that_is_refused_is_shown_and_ends_with_1(stocked: Path, here: Here, tiny_base: Path) -> None:
    here("base", "add", tiny_base, "--name", "own", ok=True)
    left = open_registry(stocked).get("left").path
    here("adapter", "import", left, "--name", "homely", "--base", "own", ok=True)
    ended = here("push", "homely", "--to", "ada/homely", "--dry-run")
    says = (
        "Error: The base of homely:v1 has no Hub id, so nobody could load the adapter from the Hub. "
        "Register the base under its Hub id and import the adapter with --base.\n"
    )
    assert (ended.code, ended.err) == (1, says)
    assert "base         refused  The base of homely:v1 has no Hub id" in ended.out
    ended = here("push", "homely", "--to", "ada/homely", "--json")
    assert (ended.code, ended.err) == (1, says)
    assert [check["state"] for check in ended.json["checks"] if check["check"] == "base"] == ["refused"]


def test_names_that_cannot_be_pushed_or_pulled(stocked: Path, here: Here) -> None:
    assert_refused(here("push", "x9", "--to", "ada/x", "--dry-run"), says="There is no version named 'x9'.")
    for repo_id in ("../x", "no-owner", "a/b/c"):
        ended = here("push", "left", "--to", repo_id, "--dry-run")
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    ended = here("pull", "ada/x", "--name", "../x")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)

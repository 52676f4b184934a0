"""A push that meets trouble: one typed sentence that names the repo, never a duplicate commit, never a hang."""

import threading
import time
from pathlib import Path

import pytest

from hub import Registry, remote_errors
from hub.deadline import THREAD_NAME
from hub.plan import PushPlan, plan_push
from hub.push import PushResult, push
from medley.errors import HubError
from tests.hub.adapters import adapter_files, publish_pirate
from tests.hub_server import HubServer
from tests.hub_server.store import StoredFile


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_errors, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def plan(registry: Registry, tmp_path: Path) -> PushPlan:
    publish_pirate(registry, tmp_path / "src", adapter_files(), licence="mit")
    return plan_push(registry, "pirate", "ada/pirate", private=False)


def run(registry: Registry, plan: PushPlan, server: HubServer, timeout_s: float = 30) -> PushResult:
    return push(registry, plan, token=server.owner.token, endpoint=server.url, timeout_s=timeout_s)


def failure(registry: Registry, plan: PushPlan, server: HubServer, timeout_s: float = 30) -> str:
    with pytest.raises(HubError) as caught:
        run(registry, plan, server, timeout_s)
    assert "published" not in registry.get("pirate").metadata
    assert "\n" not in str(caught.value)
    return str(caught.value)


def titles(server: HubServer) -> list[str]:
    return [each.title for each in server.store.repos["model", "ada/pirate"].history()]


NOT_KNOWN = "The Hub does not know this token. Make a new one at https://huggingface.co/settings/tokens."
NOT_ALLOWED = "This token may not do that with ada/pirate: a push needs write access to the repos of 'ada'."
NOT_SHOWN = "The Hub shows no repo ada/pirate. Check the name; a private one needs a token that may see it."
CONFLICT = "The Hub is busy with something else about ada/pirate (a job is running). Try again in a moment."
CHANGED = "ada/pirate was changed on the Hub in the meantime, so nothing was published. Try again."
BUSY = "The Hub takes no more requests for ada/pirate for now (429). Wait some minutes and try again."
BROKEN = "The Hub failed with 500 for ada/pirate. Try again later."


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (401, "Invalid credentials in Authorization header", NOT_KNOWN),
        (403, "no", NOT_ALLOWED),
        (404, "Repository not found", NOT_SHOWN),
        (409, "a job is running", CONFLICT),
        (412, "A commit has happened since", CHANGED),
        (429, "slow down", BUSY),
        (500, "oops", BROKEN),
    ],
)
@pytest.mark.parametrize("pattern", ["/commit/", "/refs$"])
def test_every_status_has_its_sentence(
    registry: Registry, plan: PushPlan, hub_server: HubServer, status: int, message: str, expected: str, pattern: str
) -> None:
    hub_server.fail("*", pattern, status, message=message, times=None)
    assert failure(registry, plan, hub_server) == expected
    assert titles(hub_server) == ["initial commit"]


def test_a_token_of_somebody_else(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    with pytest.raises(HubError) as caught:
        push(registry, plan, token=hub_server.stranger.token, endpoint=hub_server.url)
    assert str(caught.value) == NOT_ALLOWED
    assert hub_server.store.repos == {}


def test_a_token_that_may_only_read(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/pirate")
    reader = hub_server.store.add_user("ada", role="read")
    with pytest.raises(HubError) as caught:
        push(registry, plan, token=reader.token, endpoint=hub_server.url)
    assert str(caught.value) == NOT_ALLOWED


def test_an_unknown_token(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    with pytest.raises(HubError) as caught:
        push(registry, plan, token="hf_" + "x" * 34, endpoint=hub_server.url)
    assert str(caught.value) == NOT_KNOWN


@pytest.mark.parametrize("token", [None, "", "  \n"])
def test_no_token(registry: Registry, plan: PushPlan, hub_server: HubServer, token: str | None) -> None:
    with pytest.raises(HubError) as caught:
        push(registry, plan, token=token, endpoint=hub_server.url)
    assert str(caught.value) == (
        "A push to ada/pirate needs a token with write access (https://huggingface.co/settings/tokens)."
    )
    assert hub_server.seen == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(registry: Registry, plan: PushPlan, hub_server: HubServer, status: int) -> None:
    hub_server.fail("POST", "/repos/create", status, times=2)
    hub_server.fail("POST", "/commit/", status, times=2)
    hub_server.fail("POST", "/tag/", status)
    assert run(registry, plan, hub_server).is_new
    assert titles(hub_server) == ["Publish pirate:v1", "initial commit"]
    assert len(hub_server.calls("POST", "/commit/")) == 3


def test_retry_after_is_respected(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    hub_server.fail("POST", "/commit/", 429, retry_after_s=1)
    started = time.monotonic()
    run(registry, plan, hub_server)
    assert time.monotonic() - started >= 1  # a pause that was asked for; without it the pause is 0.01 s


def test_a_retry_after_beyond_the_time_left_is_told(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    hub_server.fail("POST", "/commit/", 429, retry_after_s=3600)
    assert failure(registry, plan, hub_server) == (
        "The Hub takes no more requests for ada/pirate for now (429). Wait 3600 seconds and try again."
    )


def test_a_lost_answer_makes_no_second_commit(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    hub_server.lose_answer("POST", "/commit/")
    result = run(registry, plan, hub_server)
    repo = hub_server.store.repos["model", "ada/pirate"]
    assert titles(hub_server) == ["Publish pirate:v1", "initial commit"]
    assert (result.commit, repo.tags) == (repo.head().oid, {"v1": repo.head().oid})
    assert len(hub_server.calls("POST", "/commit/")) == 1


def test_a_commit_of_somebody_else_in_between(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    repo = hub_server.store.add_repo("ada/pirate")
    uploads: list[str] = []

    def interfere(kind: str, **fields: object) -> None:
        if fields.get("text") == "Committing":
            uploads.append(hub_server.store.add_commit(repo, {"note.txt": b"mine"}, title="Theirs").oid)

    with pytest.raises(HubError) as caught:
        push(registry, plan, token=hub_server.owner.token, endpoint=hub_server.url, emit=interfere)
    assert str(caught.value) == CHANGED
    assert titles(hub_server) == ["Theirs", "initial commit"]


def test_an_upload_that_is_cut_is_sent_again(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    hub_server.lose_answer("PUT", "/lfs-upload/")
    assert run(registry, plan, hub_server).verified


@pytest.mark.parametrize("pattern", ["/lfs-upload/", "/commit/", "/repos/create", "/tree/"])
def test_a_hub_that_never_answers(registry: Registry, plan: PushPlan, hub_server: HubServer, pattern: str) -> None:
    hub_server.stall("*", pattern, times=None)
    assert failure(registry, plan, hub_server, timeout_s=0.7) == (
        "The Hub did not take ada/pirate within 0.7 seconds. Nothing half done is visible there: "
        "push again when the connection is better."
    )
    hub_server.faults.clear()
    assert run(registry, plan, hub_server).is_new  # the first one still hangs, and does not disturb
    assert titles(hub_server) == ["Publish pirate:v1", "initial commit"]


def test_what_was_given_up_does_not_go_on(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    """The upload ends late, after the push was given up: its thread must not commit any more."""
    hub_server.stall("PUT", "/lfs-upload/")
    failure(registry, plan, hub_server, timeout_s=0.7)
    hub_server.faults.released.set()
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(30)
    assert len(hub_server.calls("POST", "/lfs-verify")) == 1  # the upload did come to its end
    assert hub_server.calls("POST", "/commit/") == []
    assert titles(hub_server) == ["initial commit"]


def test_something_else_arrived(
    registry: Registry, plan: PushPlan, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Hub that stores other bytes than were sent: seen by the comparison after the commit, and not tagged."""
    content = StoredFile.git_sha1.fget
    spoilt = property(lambda file: content(file)[::-1] if file.content.startswith(b"{") else content(file))
    monkeypatch.setattr(StoredFile, "git_sha1", spoilt)
    message = failure(registry, plan, hub_server)
    head = hub_server.store.repos["model", "ada/pirate"].head()
    assert message == (
        f"ada/pirate holds something else than was sent at commit {head.oid[:8]}: adapter_config.json. "
        "Nobody should use that commit; push again."
    )
    assert hub_server.store.repos["model", "ada/pirate"].tags == {}


def test_a_tag_that_cannot_be_set(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    hub_server.fail("POST", "/tag/", 500, times=4)
    message = failure(registry, plan, hub_server)
    head = hub_server.store.repos["model", "ada/pirate"].head()
    assert message == (f"ada/pirate is published at {head.oid[:8]}, but not tagged v1: {BROKEN} Push again to tag it.")
    assert run(registry, plan, hub_server).is_new is False
    assert hub_server.store.repos["model", "ada/pirate"].tags == {"v1": head.oid}


def test_a_hub_that_speaks_nonsense(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    hub_server.fail("GET", "/refs$", 200)
    assert failure(registry, plan, hub_server) == (
        "The Hub sent something unexpected about ada/pirate ('branches'). Try again later."
    )


def test_a_card_that_the_hub_refuses(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    hub_server.fail("POST", "/validate-yaml", 400, message="license is not known")
    assert failure(registry, plan, hub_server) == "The Hub refused ada/pirate with 400 (license is not known)."
    assert titles(hub_server) == ["initial commit"]


def test_nobody_there(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    hub_server.close()
    message = failure(registry, plan, hub_server)
    assert message.startswith(f"The Hub at {hub_server.url} cannot be reached (")
    assert message.endswith("). Check the connection and try again.")


def test_offline_mode_is_named(
    registry: Registry, plan: PushPlan, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert failure(registry, plan, hub_server) == (
        "The Hub client is offline because HF_HUB_OFFLINE is set. Unset it and try again."
    )
    assert hub_server.seen == []

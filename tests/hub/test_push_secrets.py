"""No token is left anywhere: not in files, logs, messages or tracebacks, whether a push works or fails."""

import logging
import re
import traceback
from pathlib import Path

import pytest

from hub import Registry, remote_errors
from hub.leaks import MASK, has_token, home_paths, local_paths, masked, without_local_paths
from hub.plan import plan_push
from hub.pull import pull
from hub.push import push
from medley.errors import HubError
from tests.hub.adapters import adapter_files, publish_pirate
from tests.hub_server import HubServer
from tests.hub_server.fixtures import MACHINE_TOKEN

TOKEN_SHAPE = re.compile(rb"hf_[A-Za-z0-9]{30,}")


def files_with_tokens(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and TOKEN_SHAPE.search(path.read_bytes())]


def everything(error: BaseException) -> str:
    """What a log would show of an error: its text, its chain and its traceback."""
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize("status", [None, 400, 401, 403, 404, 409, 412, 429, 500])
def test_nothing_keeps_the_token(
    registry: Registry,
    hub_server: HubServer,
    tmp_path: Path,
    status: int | None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hostile Hub even repeats the token in its own messages."""
    monkeypatch.setattr(remote_errors, "FIRST_PAUSE_S", 0.01)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpcore2").setLevel(logging.INFO)  # its debug lines show every header a server sends
    publish_pirate(registry, tmp_path / "src", adapter_files(), licence="mit")
    plan = plan_push(registry, "pirate", "ada/pirate", private=True)
    token = hub_server.owner.token
    said: list[str] = [repr(plan), str(plan.checks)]
    if status:
        hub_server.fail("POST", "/commit/", status, message=f"bad token {token}", times=None)
    try:
        emitted = push(
            registry,
            plan,
            token=token,
            endpoint=hub_server.url,
            emit=lambda kind, **fields: said.append(str(fields)),
        )
        said.append(repr(emitted))
        pull(registry, "ada/pirate", "back", token=token, endpoint=hub_server.url)
    except HubError as error:
        said.append(everything(error))
    assert (status is None) == registry.exists("back")
    captured = capfd.readouterr()
    texts = "\n".join([*said, caplog.text, captured.out, captured.err])
    assert not has_token(texts)
    (tmp_path / "machine-login" / "token").unlink()  # the login that the fixture pretends the machine has
    assert files_with_tokens(tmp_path) == []
    repo = hub_server.store.repos["model", "ada/pirate"]
    published = [file.content.decode("latin-1") for commit in repo.history() for file in commit.files.values()]
    assert len(published) == (5 if status is None else 1)
    assert not has_token("\n".join(published))


def test_the_machines_login_is_never_used(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    publish_pirate(registry, tmp_path / "src", adapter_files(), licence="mit")
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    push(registry, plan, token=hub_server.owner.token, endpoint=hub_server.url)
    hub_server.seen.clear()
    for token in (False, None, ""):
        pull(registry, "ada/pirate", f"back{token}".lower(), token=token, endpoint=hub_server.url)
    assert {seen.headers.get("authorization") for seen in hub_server.seen} == {None}
    with pytest.raises(HubError):
        push(registry, plan, token=None, endpoint=hub_server.url)
    assert all(MACHINE_TOKEN not in str(seen.headers) for seen in hub_server.seen)


@pytest.mark.parametrize("token", ["hf_abc\ndef", "hf_äbc", "hf_abc def", "hf_\x00abc"])
def test_what_cannot_be_a_token_is_not_repeated(
    registry: Registry, hub_server: HubServer, tmp_path: Path, token: str
) -> None:
    publish_pirate(registry, tmp_path / "src")
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    with pytest.raises(HubError) as caught:
        push(registry, plan, token=token, endpoint=hub_server.url)
    assert str(caught.value) == ("This is not a Hub token: it has spaces or special characters in it. Copy it again.")
    assert token not in everything(caught.value)
    assert hub_server.seen == []


def test_a_pasted_newline_is_no_harm(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    publish_pirate(registry, tmp_path / "src")
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    assert push(registry, plan, token=f" {hub_server.owner.token}\n", endpoint=hub_server.url).verified


def test_the_pushs_own_token_in_a_file(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    """A token of another shape than the Hub's usual one is known at least while it is in use."""
    publish_pirate(registry, tmp_path / "src", adapter_files(LICENSE=b"key: my-own-secret-0123"))
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    with pytest.raises(HubError) as caught:
        push(registry, plan, token="my-own-secret-0123", endpoint=hub_server.url)
    assert str(caught.value) == "LICENSE holds the very token of this push. Remove it from there and revoke it."


def test_masking() -> None:
    token = "hf_" + "a1" * 17
    assert masked(f"a {token} b api_org_{'x' * 34} c hf_oauth_{'y' * 40}") == f"a {MASK} b {MASK} c {MASK}"
    assert masked("secret sauce", "secret", None, False) == f"{MASK} sauce"
    assert masked("hf_hub 1.0, hf_short") == "hf_hub 1.0, hf_short"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model: /home/ada/x.json", ["/home/ada/x.json"]),
        ("path=/etc/passwd", ["/etc/passwd"]),
        ("(~/models/x)", ["~/models/x"]),
        ('"C:\\\\Users\\\\ada\\\\x"', ["C:\\\\Users\\\\ada\\\\x"]),
        ("\\\\server\\share\\x", ["\\\\server\\share\\x"]),
        ("file:///home/x/y", ["file:///home/x/y"]),
        ("https://huggingface.co/home/x and a/b/c, 1/2, and/or", []),
        ("</s> [/INST] /no_think <|im_start|>/n ./a/b ../a/b", []),
    ],
)
def test_what_counts_as_a_local_path(text: str, found: list[str]) -> None:
    assert local_paths(text) == found
    assert local_paths(without_local_paths(text)) == []


def test_only_this_machines_folders_count_in_a_vocabulary() -> None:
    text = '{"/usr/lib/x": 1, "/srv/medley/home/y": 2}'
    assert home_paths(text, [Path("/srv/medley/home")]) == ["/srv/medley/home"]
    assert home_paths(text, [Path("/usr")]) == []  # too common a word to be somebody's home

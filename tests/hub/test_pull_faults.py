"""A pull from a Hub that lies, breaks off, stalls or points elsewhere: a typed sentence, and nothing is kept."""

from pathlib import Path
from typing import Any

import pytest

from hub import Registry, allow_list, remote_errors
from hub.pull import pull
from medley.errors import AdapterFormatError, UserError
from tests.hub.adapters import adapter_files, config, weights
from tests.hub_server import HubServer


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_errors, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def server(hub_server: HubServer) -> HubServer:
    hub_server.store.add_repo("ada/pirate", adapter_files())
    return hub_server


def failure(registry: Registry, server: HubServer, **settings: Any) -> str:
    """The one-line message; the registry and the temporary folder are as empty as before."""
    with pytest.raises(UserError) as caught:
        pull(registry, "ada/pirate", "back", endpoint=server.url, **settings)
    assert registry.list() == []
    assert registry.verify().unreferenced == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_corrupted_bytes_of_equal_size(registry: Registry, server: HubServer, temporary: Path) -> None:
    server.corrupt("/resolve/.*safetensors")
    assert failure(registry, server) == (
        "adapter_model.safetensors of ada/pirate arrived with other bytes than the Hub lists (wrong hash). "
        "Nothing was imported; try again."
    )
    assert list(temporary.iterdir()) == []
    assert pull(registry, "ada/pirate", "back", endpoint=server.url).label == "back:v1"


def test_a_corrupted_small_file(registry: Registry, server: HubServer) -> None:
    server.corrupt("/resolve/.*json")
    assert failure(registry, server).startswith("adapter_config.json of ada/pirate arrived with other bytes")


@pytest.mark.parametrize(
    "path", ["../../x.json", "/etc/cron.d/x", "a/../../b", "..\\x", "README.md/../../x", "LICENSE\n", "con", "", "./x"]
)
def test_evil_paths_in_the_tree(registry: Registry, server: HubServer, path: str, temporary: Path) -> None:
    server.store.repos["model", "ada/pirate"].extra_tree_entries.append(path)
    with pytest.raises(AdapterFormatError, match=r"'ada/pirate' cannot be imported: .* is not part of an adapter"):
        pull(registry, "ada/pirate", "back", endpoint=server.url)
    assert [seen for seen in server.seen if "/resolve/" in seen.path] == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("path", [".git/../../x", "runs/../../../etc/passwd", "checkpoint-1/../../x"])
def test_evil_paths_below_what_is_left_out(registry: Registry, server: HubServer, path: str) -> None:
    server.store.repos["model", "ada/pirate"].extra_tree_entries.append(path)
    version = pull(registry, "ada/pirate", "back", endpoint=server.url)
    assert sorted(each.name for each in version.path.iterdir()) == sorted(adapter_files())
    assert not any(seen.path.rpartition("/")[2] == "x" for seen in server.seen)


def test_two_names_of_one_file(registry: Registry, server: HubServer) -> None:
    server.store.repos["model", "ada/pirate"].extra_tree_entries += ["LICENSE", "LICENSe"]
    assert "LICENSe" in failure(registry, server)


def test_too_many_files(registry: Registry, server: HubServer) -> None:
    extra = server.store.repos["model", "ada/pirate"].extra_tree_entries
    extra += [f"runs/{number}" for number in range(allow_list.MAX_ENTRIES)]
    server.page_size = 5000
    assert failure(registry, server) == "ada/pirate has more than 10,000 files, so it is no adapter."
    assert len(server.calls("GET", "/tree/")) == 3


def test_a_file_that_is_too_large_is_not_fetched(registry: Registry, server: HubServer) -> None:
    server.store.add_commit(server.store.repos["model", "ada/pirate"], {"README.md": b"x" * 5_000_000})
    assert failure(registry, server) == (
        "'ada/pirate' cannot be imported: 'README.md' has 5,000,000 bytes; at most 1,048,576 are accepted."
    )
    assert [seen for seen in server.seen if "/resolve/" in seen.path] == []


def test_a_redirect_to_another_host_keeps_the_token_home(
    registry: Registry, server: HubServer, other_host: HubServer
) -> None:
    """Large files lie on other hosts; the bytes may come from there, the token may not go there."""
    other_host.store.add_repo("ada/pirate", adapter_files())
    server.store.repos["model", "ada/pirate"].is_private = True
    server.redirect("/resolve/.*safetensors", other_host.url, times=None)
    version = pull(registry, "ada/pirate", "back", token=server.owner.token, endpoint=server.url)
    assert (version.path / "adapter_model.safetensors").read_bytes() == weights()
    assert [seen.path.rpartition("/")[2] for seen in other_host.calls("GET", "")] == ["adapter_model.safetensors"]
    assert {seen.headers.get("authorization") for seen in other_host.seen} == {None}
    assert server.seen[0].headers["authorization"] == f"Bearer {server.owner.token}"


def test_a_redirected_api_keeps_the_token_home(registry: Registry, server: HubServer, other_host: HubServer) -> None:
    other_host.store.add_repo("ada/pirate", adapter_files())
    server.redirect("/api/models/ada/pirate$", other_host.url, times=None)
    server.redirect("/tree/", other_host.url, times=None)
    pull(registry, "ada/pirate", "back", token=server.owner.token, endpoint=server.url)
    assert len(other_host.seen) == 2
    assert {seen.headers.get("authorization") for seen in other_host.seen} == {None}


def test_a_cut_download_is_fetched_again(registry: Registry, server: HubServer) -> None:
    server.cut("GET", "/resolve/.*safetensors", after_bytes=50)
    assert pull(registry, "ada/pirate", "back", endpoint=server.url).label == "back:v1"


@pytest.mark.parametrize("pattern", ["/api/models/ada/pirate$", "/tree/", "/resolve/.*json"])
def test_a_hub_that_never_answers(registry: Registry, server: HubServer, pattern: str, temporary: Path) -> None:
    server.stall("*", pattern, times=None)
    assert failure(registry, server, timeout_s=0.7) == (
        "The Hub did not send ada/pirate within 0.7 seconds. Try again when the connection is better."
    )


def test_a_hub_that_sends_drop_by_drop(registry: Registry, server: HubServer, temporary: Path) -> None:
    server.drip("/resolve/.*safetensors", times=None)
    assert failure(registry, server, timeout_s=1) == (
        "The Hub did not send ada/pirate within 1 seconds. Try again when the connection is better."
    )


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(registry: Registry, server: HubServer, status: int) -> None:
    server.fail("GET", "/api/models/ada/pirate$", status, times=2)
    server.fail("GET", "/tree/", status)
    assert pull(registry, "ada/pirate", "back", endpoint=server.url).label == "back:v1"


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (
            401,
            "Invalid credentials in Authorization header",
            "The Hub does not know this token. Make a new one at https://huggingface.co/settings/tokens.",
        ),
        (
            404,
            "gone",
            "The Hub shows no repo ada/pirate. Check the name; a private one needs a token that may see it.",
        ),
        (
            429,
            "slow down",
            "The Hub takes no more requests for ada/pirate for now (429). Wait some minutes and try again.",
        ),
        (500, "oops", "The Hub failed with 500 for ada/pirate. Try again later."),
    ],
)
def test_every_status_has_its_sentence(
    registry: Registry, server: HubServer, status: int, message: str, expected: str
) -> None:
    server.fail("GET", "/api/models/ada/pirate$", status, message=message, times=None)
    assert failure(registry, server) == expected


def test_a_file_that_vanishes_in_between(registry: Registry, server: HubServer) -> None:
    server.fail("*", "/resolve/", 404, code="EntryNotFound", times=None)
    assert failure(registry, server) == (
        "A file of ada/pirate is gone from the Hub. Try again, or choose another revision."
    )


def test_a_file_that_the_hub_fails_to_send(registry: Registry, server: HubServer) -> None:
    server.fail("GET", "/resolve/", 500, times=None)
    assert failure(registry, server) == "The Hub failed with 500 for ada/pirate. Try again later."


@pytest.mark.parametrize(
    "card",
    [
        b"---\na: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\n",
        b"---\na: !!python/object/apply:os.system ['true']\n---\n",
        b"---\n- just\n- a list\n---\n",
        b"---\na: [1\n---\n",
        b"\xff\xfe not text",
    ],
)
def test_a_hostile_card(registry: Registry, server: HubServer, card: bytes) -> None:
    server.store.add_commit(server.store.repos["model", "ada/pirate"], {"README.md": card})
    assert "README.md" in failure(registry, server)


def test_a_card_that_names_a_path_stays_behind(registry: Registry, server: HubServer) -> None:
    card = b"---\nbase_model: /home/ada/tiny\n---\n# Pirate\n"
    server.store.add_commit(server.store.repos["model", "ada/pirate"], {"README.md": card})
    texts: list[str] = []
    version = pull(
        registry,
        "ada/pirate",
        "back",
        endpoint=server.url,
        emit=lambda kind, **fields: texts.append(fields["text"]),
    )
    assert not (version.path / "README.md").exists()
    assert "README.md" in texts[-1]


def test_a_hostile_configuration(registry: Registry, server: HubServer) -> None:
    evil = config(auto_mapping={"parent_library": "os", "base_model_class": "system"})
    server.store.add_commit(server.store.repos["model", "ada/pirate"], {"adapter_config.json": evil})
    assert "auto_mapping" in failure(registry, server)


def test_a_pickle_in_safetensors_clothes(registry: Registry, server: HubServer) -> None:
    evil = {"adapter_model.safetensors": b"\x80\x04\x95pickle" * 10}
    server.store.add_commit(server.store.repos["model", "ada/pirate"], evil)
    assert "adapter_model.safetensors" in failure(registry, server)


def test_nobody_there(registry: Registry, server: HubServer) -> None:
    server.close()
    assert failure(registry, server).startswith(f"The Hub at {server.url} cannot be reached (")


def test_offline_mode_is_named(registry: Registry, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert failure(registry, server) == (
        "The Hub client is offline because HF_HUB_OFFLINE is set. Unset it and try again."
    )

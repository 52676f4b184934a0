"""The Hub server as pytest fixtures, and a guard that lets no test reach another machine."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server.server import HubServer

MACHINE_TOKEN = "hf_" + "machine0" * 5  # what a user's own login left on the machine; no request may carry it unasked


@pytest.fixture
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Connections leave for 127.0.0.1 alone; the test fails if anything tried to go elsewhere."""
    tried: list[str] = []
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        is_far = self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        )
        if is_far:
            tried.append(str(address[0]))
            raise ConnectionRefusedError(f"tests may not connect to {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield tried
    assert tried == [], "a test tried to reach another machine"


@pytest.fixture
def hub_client_online(loopback_only: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The Hub client out of its offline mode, with an empty cache and a login of its own that nobody asked for."""
    from huggingface_hub import close_session, constants

    token_file = tmp_path / "machine-login" / "token"
    token_file.parent.mkdir()
    token_file.write_text(MACHINE_TOKEN)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(token_file))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    close_session()
    yield
    close_session()


@pytest.fixture
def hub_server(hub_client_online: None) -> Iterator[HubServer]:
    """A Hub with nothing in it; `url` is the endpoint, and `owner.token` may write to ada/… and crew/…."""
    server = HubServer()
    yield server
    server.close()


@pytest.fixture
def other_host(hub_client_online: None) -> Iterator[HubServer]:
    """A second server on another port: another origin, to which no token may follow."""
    server = HubServer()
    yield server
    server.close()

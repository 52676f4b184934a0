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
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def refuse_far(host: Any) -> None:
        if host not in (None, "127.0.0.1", "::1", "localhost"):
            tried.append(str(host))
            raise ConnectionRefusedError(f"tests may not connect to {host}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse_far(address[0])
        connect(self, address)

    def guarded_look_up(host: Any, *rest: Any, **named: Any) -> Any:
        refuse_far(host)
        return look_up(host, *rest, **named)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
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
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # it asks huggingface.co, whatever the endpoint
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

"""Builds the pages and launches; also the entry of a Hugging Face Space.

`medley app` calls `main`; a Space runs this file. The app listens on this machine alone unless a password is set.
It is mounted in a FastAPI app of ours, so that requests from other sites are refused before Gradio sees them.
"""

import ipaddress
import os
import socket
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from medley.errors import ParameterError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

MAX_UPLOAD = "512mb"
LOGIN_TRIES, LOGIN_WINDOW_S = 10, 60.0  # wrong passwords from one address before it has to wait
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
# Gradio needs inline scripts; nothing may be fetched from, or sent to, anywhere else: no remote image tells who looked.
# Only the Hub, whose Spaces are frames, may show the app inside a page of its own.
CONTENT_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; img-src 'self' data: blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self' https://huggingface.co"
)
Next = Callable[["Request"], Awaitable["Response"]]


def main(host: str = "127.0.0.1", port: int = 7860, read_only: bool = False, auth: str | None = None) -> None:
    """Serve the app until it is interrupted.

    Args:
        host: the address to listen on; any that other machines can reach needs `auth`, except on a Space.
        port: the port to listen on.
        read_only: True switches off training, changing, deleting and pushing; always so on a Space.
        auth: "USER:PASS" that the browser asks for, or None.

    Raises:
        ParameterError: the host needs a password, the password has the wrong form, or the port is taken.
    """
    import uvicorn

    if is_space():
        host, read_only = "0.0.0.0", True
    login = check_access(host, auth, on_space=is_space())
    check_port(host, port)
    app = build_server(host=host, read_only=read_only, login=login)
    print(f"Medley is at http://{'localhost' if host in LOCAL_NAMES else host}:{port} (Ctrl-C ends it, jobs go on)")
    uvicorn.run(app, host=host, port=port, log_level="warning")


def is_space() -> bool:
    """True on a Hugging Face Space, which is public and keeps nothing."""
    return bool(os.environ.get("SPACE_ID"))


def check_access(host: str, auth: str | None, *, on_space: bool = False) -> tuple[str, str] | None:
    """The user and password, or None where none are needed."""
    user, colon, password = (auth or "").partition(":")
    if auth and not (user and colon and password):
        raise ParameterError("--auth must be USER:PASS, both not empty.")
    if not auth and not on_space and not is_loopback(host):
        raise ParameterError(
            f"--host {host} can be reached from other machines. Add --auth USER:PASS, or listen on 127.0.0.1."
        )
    return (user, password) if auth else None


def is_loopback(host: str) -> bool:
    """True for an address that only this machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_port(host: str, port: int) -> None:
    """Nothing, if the port is free.

    Raises:
        ParameterError: it is taken, or cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise ParameterError(f"Port {port} on {host} cannot be used ({error}). Choose another with --port.") from error


def build_server(
    *, host: str = "127.0.0.1", read_only: bool = False, login: tuple[str, str] | None = None
) -> "FastAPI":
    """The pages behind our own checks of where a request comes from."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "0")
    import gradio as gr
    from fastapi import FastAPI
    from fastapi.middleware.cors import CORSMiddleware

    from hub import home_dir
    from medley.ui.app import build_app
    from medley.ui.theme import HEAD, stylesheet, theme

    warnings.filterwarnings("ignore", message="SSR mode is not supported with multi-page apps")
    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    server.middleware("http")(login_gate())
    server.middleware("http")(same_origin_gate(is_local=is_loopback(host) and login is None))
    server.add_middleware(CORSMiddleware, allow_origins=[])  # with our own in place Gradio does not add its lenient one
    pages = build_app(home_dir(), read_only)
    pages.has_launched = True  # until then Gradio takes any path in a request for an upload, and a mounted app never is
    return gr.mount_gradio_app(
        server,
        pages,
        path="/",
        auth=login,
        blocked_paths=[str(home_dir())],
        max_file_size=MAX_UPLOAD,
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        show_error=False,
        footer_links=[],
        theme=theme(),
        css=stylesheet(),
        head=HEAD,
    )


def same_origin_gate(*, is_local: bool) -> Callable[["Request", Next], Awaitable["Response"]]:
    """Refuses what another site's page sends, and, when only this machine is served, other names for this machine.

    A form on any web page can post to localhost; a name that a stranger points at 127.0.0.1 can even read the answers.
    """
    from fastapi.responses import PlainTextResponse

    async def gate(request: "Request", call_next: Next) -> "Response":
        asked = host_name(request.headers.get("host", ""))
        if is_local and asked not in LOCAL_NAMES:
            return PlainTextResponse("Open Medley by the name localhost.", status_code=400)
        if request.method not in SAFE_METHODS and is_foreign(request):
            return PlainTextResponse("This request comes from another site.", status_code=403)
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = CONTENT_POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return gate


def is_foreign(request: "Request") -> bool:
    """True when a browser says that the request was made by a page of another site.

    Programs (the Gradio client, curl) send neither header and are let through: they are not a victim's browser.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return True
    origin = request.headers.get("origin")
    if origin is None:
        return False
    own = {request.headers.get("host", ""), request.headers.get("x-forwarded-host", "")} - {""}
    return urlsplit(origin).netloc not in own


def host_name(header: str) -> str:
    """The name in a Host header, without the port."""
    return (urlsplit(f"//{header}").hostname or "").rstrip(".")


def login_gate() -> Callable[["Request", Next], Awaitable["Response"]]:
    """Makes guessing passwords slow: after some wrong ones, an address has to wait."""
    from fastapi.responses import PlainTextResponse

    wrong: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=LOGIN_TRIES))

    async def gate(request: "Request", call_next: Next) -> "Response":
        if request.method != "POST" or request.url.path.rstrip("/") != "/login":
            return await call_next(request)
        address = request.client.host if request.client else ""
        tries = wrong[address]
        if len(tries) == LOGIN_TRIES and time.monotonic() - tries[0] < LOGIN_WINDOW_S:
            return PlainTextResponse("Too many wrong passwords. Wait a minute.", status_code=429)
        response = await call_next(request)
        if response.status_code >= 400:
            tries.append(time.monotonic())
        return response

    return gate


if __name__ == "__main__":
    main()

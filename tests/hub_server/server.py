"""The HTTP side: reads requests, applies faults, asks the endpoints, writes answers, and keeps a log of what came.

Run it alone with `python -m tests.hub_server.server` to try a client by hand; it prints its address and a token.
"""

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hub.deadline import THREAD_NAME
from tests.hub_server.api import answer_api
from tests.hub_server.exchange import Answer, Request, json_answer
from tests.hub_server.faults import Fault, Faults
from tests.hub_server.files import answer_files
from tests.hub_server.store import HubStore, Refusal, User

DRIP_PAUSE_S = 0.2


@dataclass(frozen=True)
class Seen:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]


class HubServer:
    """A Hub on a free loopback port, with two users: `owner` (write token) and `stranger`.

    Attributes:
        store: its repos, users and large files, to prepare and to look at.
        seen: every request that arrived, in order.
        page_size: entries per page of a tree.
        part_bytes: when set, large files above it are uploaded in parts.
    """

    def __init__(self) -> None:
        self.store = HubStore()
        self.faults = Faults()
        self.seen: list[Seen] = []
        self.page_size = 1000
        self.part_bytes: int | None = None
        self.is_closed = False
        self.owner = self.store.add_user("ada", orgs=("crew",))
        self.stranger = self.store.add_user("mallory")
        self._http = _Listener(("127.0.0.1", 0), _Handler)
        self._http.hub = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, once the clients that were left behind have been told so and are gone."""
        if self.is_closed:
            return
        self.is_closed = True
        self.faults.released.set()
        for thread in threading.enumerate():
            if thread.name == THREAD_NAME:
                thread.join(10)
        self._http.shutdown()
        self._http.server_close()

    def fail(self, method: str, pattern: str, status: int, **details: Any) -> Fault:
        """Answer matching requests with an error status."""
        return self.faults.add(Fault(method, pattern, "status", status=status, **details))

    def stall(self, method: str, pattern: str, **details: Any) -> Fault:
        """Take matching requests and do nothing until `faults.released` is set."""
        return self.faults.add(Fault(method, pattern, "stall", **details))

    def cut(self, method: str, pattern: str, after_bytes: int, **details: Any) -> Fault:
        """Close the connection in the middle of the answer's body."""
        return self.faults.add(Fault(method, pattern, "cut", after_bytes=after_bytes, **details))

    def corrupt(self, pattern: str, **details: Any) -> Fault:
        """Flip one byte of what is downloaded; the size stays."""
        return self.faults.add(Fault("GET", pattern, "corrupt", **details))

    def lose_answer(self, method: str, pattern: str, **details: Any) -> Fault:
        """Do the work, then close the connection without a word."""
        return self.faults.add(Fault(method, pattern, "lose", **details))

    def drip(self, pattern: str, **details: Any) -> Fault:
        """Send the body one byte at a time, with pauses."""
        return self.faults.add(Fault("GET", pattern, "drip", **details))

    def redirect(self, pattern: str, host: str, **details: Any) -> Fault:
        """Send matching requests to the same path at another host."""
        return self.faults.add(Fault("*", pattern, "redirect", host=host, **details))

    def calls(self, method: str, pattern: str) -> list[Seen]:
        """The requests that arrived with this method and a path that holds `pattern`."""
        return [seen for seen in self.seen if seen.method == method and pattern in seen.path]

    def answer(self, request: Request) -> Answer:
        """What the Hub answers when nothing goes wrong."""
        try:
            if self.is_closed:
                raise Refusal(400, "The server is closing")
            if request.headers.get("authorization") and request.user is None:
                raise Refusal(401, "Invalid credentials in Authorization header")
            if request.path.startswith("/api/"):
                return answer_api(self.store, request, self.page_size)
            return answer_files(self.store, request, self.part_bytes)
        except Refusal as refusal:
            return refusal_answer(refusal.status, refusal.message, refusal.code)

    def user_of(self, authorization: str) -> User | None:
        return self.store.users.get(authorization.removeprefix("Bearer "))


def refusal_answer(status: int, message: str, code: str = "", retry_after_s: int | None = None) -> Answer:
    """An error in the Hub's form: X-Error-Code, X-Error-Message and the same sentence as JSON."""
    answer = json_answer({"error": message}, status, X_Error_Message=message)
    if code:
        answer.headers["X-Error-Code"] = code
    if retry_after_s is not None:
        answer.headers["Retry-After"] = str(retry_after_s)
    return answer


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    hub: HubServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the tests, not news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes; together they would wait for each other 40 ms
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def handle_any(self) -> None:
        hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.split("?")[0]
        hub.seen.append(Seen(self.command, path, headers))
        fault = None if hub.is_closed else hub.faults.take(self.command, path)
        if fault and fault.action == "stall":
            hub.faults.released.wait()
        body = self.read_body(headers)
        if fault and fault.action == "status":
            self.send(refusal_answer(fault.status, fault.message, fault.code, fault.retry_after_s), None)
        elif fault and fault.action == "redirect":
            about = self.file_headers(headers) if "/resolve/" in path else {}
            self.send(Answer(302, b"", {**about, "Location": fault.host + self.path}), None)
        else:
            answer = hub.answer(self.request_from(headers, body))
            self.send(answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def request_from(self, headers: dict[str, str], body: bytes) -> Request:
        hub = self.server.hub
        user = hub.user_of(headers.get("authorization", ""))
        return Request(self.command, self.path, headers, body, user, hub.url)

    def file_headers(self, headers: dict[str, str]) -> dict[str, str]:
        """What the Hub says about a file in the redirect that leads to its bytes."""
        answer = self.server.hub.answer(self.request_from(headers, b""))
        names = ("X-Repo-Commit", "ETag", "X-Linked-Etag", "X-Linked-Size")
        return {name: answer.headers[name] for name in names if name in answer.headers}

    def read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().strip(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, answer: Answer, fault: Fault | None) -> None:
        action = fault.action if fault else ""
        if action == "lose":
            self.close_connection = True
            return
        body = answer.body
        if action == "corrupt" and body:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and action == "cut":
            self.wfile.write(body[: fault.after_bytes])
            self.close_connection = True
        elif action == "drip":
            self.drip(body)
        else:
            self.wfile.write(body)

    def drip(self, body: bytes) -> None:
        for position in range(len(body)):
            if self.server.hub.faults.released.is_set():
                self.close_connection = True
                return
            self.wfile.write(body[position : position + 1])
            self.wfile.flush()
            time.sleep(DRIP_PAUSE_S)


if __name__ == "__main__":
    served = HubServer()
    print(f"HF_ENDPOINT={served.url} HF_TOKEN={served.owner.token} HF_HUB_DISABLE_XET=1")
    threading.Event().wait()

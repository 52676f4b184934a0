"""The server around the pages: who may reach it, and what it refuses before Gradio sees it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

import app
from medley.errors import ParameterError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[FastAPI]:
    """The whole app on an empty home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDLEY_HOME", str(home))
        yield app.build_server()


@pytest.fixture
def client(server: FastAPI) -> TestClient:
    return TestClient(server, base_url="http://localhost:7860")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_a_host_that_others_can_reach_needs_a_password(host: str) -> None:
    with pytest.raises(ParameterError) as error:
        app.check_access(host, None)
    expected = f"--host {host} can be reached from other machines. Add --auth USER:PASS, or listen on 127.0.0.1."
    assert str(error.value) == expected
    assert app.check_access(host, "ada:secret") == ("ada", "secret")
    assert app.check_access(host, None, on_space=True) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_alone_needs_none(host: str) -> None:
    assert app.check_access(host, None) is None


@pytest.mark.parametrize("auth", ["ada", "ada:", ":secret", ":"])
def test_half_a_login_is_refused(auth: str) -> None:
    with pytest.raises(ParameterError) as error:
        app.check_access("127.0.0.1", auth)
    assert str(error.value) == "--auth must be USER:PASS, both not empty."


def test_a_password_may_hold_a_colon() -> None:
    assert app.check_access("127.0.0.1", "ada:a:b") == ("ada", "a:b")


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ParameterError, match=f"Port {port} on 127.0.0.1 cannot be used .* another with --port"):
            app.check_port("127.0.0.1", port)


def test_every_page_is_there(client: TestClient) -> None:
    for page in ("", "data", "train", "merge", "compare", "registry", "publish"):
        response = client.get(f"/{page}")
        assert response.status_code == 200, page
        policy = response.headers["content-security-policy"]
        assert "img-src 'self' data: blob:;" in policy
        assert policy.endswith("frame-ancestors 'self' https://huggingface.co")
    assert client.get("/evaluate").status_code == 404


def test_another_sites_page_can_post_nothing(client: TestClient) -> None:
    call = {"data": [], "fn_index": 0, "session_hash": "x"}
    upload = {"files": ("a.jsonl", b"{}")}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:9999"},
    ):
        assert client.post("/gradio_api/queue/join", json=call, headers=headers).status_code == 403
        assert client.post("/gradio_api/upload", files=upload, headers=headers).status_code == 403
    own = {"Origin": "http://localhost:7860", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/gradio_api/upload", files=upload, headers=own).status_code == 200


def test_another_site_is_given_no_leave_to_read(client: TestClient) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    preflight = client.options("/gradio_api/queue/join", headers=asked)
    assert preflight.status_code == 400
    answer = client.get("/config", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-credentials" not in answer.headers


def test_a_strangers_name_for_this_machine_is_refused(client: TestClient) -> None:
    response = client.get("/", headers={"Host": "rebound.example:7860"})
    assert (response.status_code, response.text) == (400, "Open Medley by the name localhost.")
    assert client.get("/", headers={"Host": "127.0.0.1:7860"}).status_code == 200


def test_files_of_the_machine_and_the_home_are_not_served(client: TestClient, home: Path) -> None:
    (home / "secret.txt").write_text("secret")
    for path in ("/etc/passwd", str(home / "registry.db"), str(home / "secret.txt"), str(ROOT / "pyproject.toml")):
        for route in (f"/gradio_api/file={path}", f"/file={path}"):
            assert client.get(route).status_code in {403, 404}, route


def test_an_event_cannot_name_a_file_of_the_machine(client: TestClient, home: Path, tmp_path: Path) -> None:
    """The import's field takes what was uploaded, not a path that somebody writes into the request."""
    config = client.get("/config").json()
    file = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "import-file")
    start = next(each for each in config["dependencies"] if each["inputs"][:1] == [file] and len(each["inputs"]) == 9)

    def import_from(path: str, name: str) -> Response:
        values = [{"path": path, "meta": {"_type": "gradio.FileData"}}, "", "", name, "auto", 0.1, "all", "", ""]
        call = {"data": values, "fn_index": start["id"], "session_hash": "x"}
        return client.post("/gradio_api/run/predict", json=call)

    rows = b'{"prompt": "a", "completion": "b"}\n'
    (tmp_path / "rows.jsonl").write_bytes(rows)
    for path in (tmp_path / "rows.jsonl", ROOT / "examples" / "pirate.jsonl", Path("/etc/passwd")):
        assert import_from(str(path), "stolen").status_code >= 400, path
    assert list((home / "jobs").glob("import-*")) == []
    uploaded = client.post("/gradio_api/upload", files={"files": ("rows.jsonl", rows)}).json()[0]
    assert import_from(uploaded, "mine").status_code == 200
    assert len(list((home / "jobs").glob("import-*"))) == 1


def test_guessing_a_password_is_slow(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLEY_HOME", str(home))
    client = TestClient(app.build_server(host="0.0.0.0", login=("ada", "secret")), base_url="http://box:7860")
    assert client.post("/gradio_api/queue/join", json={}).status_code == 401
    assert client.post("/gradio_api/upload", files={"files": ("a", b"x")}).status_code == 401
    wrong = {"username": "ada", "password": "guess"}
    codes = [client.post("/login", data=wrong).status_code for _ in range(app.LOGIN_TRIES + 2)]
    assert codes == [400] * app.LOGIN_TRIES + [429, 429]
    assert client.post("/login", data={"username": "ada", "password": "secret"}).status_code == 429


def test_the_right_password_opens(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLEY_HOME", str(home))
    client = TestClient(app.build_server(host="0.0.0.0", login=("ada", "secret")), base_url="http://box:7860")
    assert client.get("/config").status_code == 401
    assert client.post("/login", data={"username": "ada", "password": "secret"}).status_code == 200


def test_importing_it_is_cheap() -> None:
    code = "import sys, app; print([name for name in ('gradio', 'torch', 'fastapi') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_on_a_space_it_is_public_and_read_only(home: Path) -> None:
    """`python app.py` as a Space runs it; the server itself is replaced by a look at what it would serve."""
    code = (
        "import runpy, uvicorn\n"
        "def look(server, host, port, log_level):\n"
        "    from fastapi.testclient import TestClient\n"
        "    texts = str(TestClient(server, base_url='http://space').get('/config').json())\n"
        "    print(host, port, 'Start training' in texts, 'Remove this version' in texts, 'Ask again' in texts)\n"
        "uvicorn.run = look\n"
        "runpy.run_path('app.py', run_name='__main__')\n"
    )
    environment = {**os.environ, "SPACE_ID": "ada/medley", "MEDLEY_HOME": str(home)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout.splitlines()[-1] == "0.0.0.0 7860 False False True"

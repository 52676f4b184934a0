"""doctor and app: what this machine has, and to whom the app may be shown."""

import socket
from importlib.metadata import version
from pathlib import Path

from medley import __version__
from tests.cli.conftest import Here, assert_refused


def test_doctor_says_what_there_is(here: Here, medley_home: Path) -> None:
    found = here("doctor", "--json", ok=True).json
    assert found["machine"]["medley"] == __version__
    assert found["machine"]["device"] in ("cpu", "cuda", "mps")
    assert found["packages"]["torch"] == version("torch")
    assert found["home"] == str(medley_home)
    assert found["free_bytes"] > 0
    lines = here("doctor", ok=True).out.splitlines()
    assert lines[0] == f"medley     {__version__}"
    assert not medley_home.exists()  # looking changes nothing


def test_the_app_is_shown_to_others_only_with_a_password(here: Here) -> None:
    assert_refused(
        here("app", "--host", "0.0.0.0"),
        says="--host 0.0.0.0 can be reached from other machines. Add --auth USER:PASS, or listen on 127.0.0.1.",
    )
    assert_refused(here("app", "--auth", "nobody"), says="--auth must be USER:PASS, both not empty.")
    assert here("app", "--port", "0").code == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = here("app", "--port", port)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert ended.err.startswith(f"Error: Port {port} on 127.0.0.1 cannot be used")

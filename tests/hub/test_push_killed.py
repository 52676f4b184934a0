"""kill -9 in the middle of a push: the Hub shows nothing, the registry is as before, the next push completes it."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hub import Registry
from tests.hub.adapters import publish_pirate
from tests.hub.models import SHARDS, publish_mixed, sharded_files
from tests.hub_server import HubServer

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.processes


def start(home: Path, server: HubServer, name: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(home / "hf"),
        "MEDLEY_HOME": str(home),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hub.push_driver", str(home), name, f"ada/{name}", server.url],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process.stdin.write(server.owner.token + "\n")
    process.stdin.flush()
    return process


def wait_for(server: HubServer, method: str, pattern: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not server.calls(method, pattern):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, "the push never came so far"
        time.sleep(0.02)


def snapshot(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((home / "store").rglob("*")) if path.is_file()}


SECOND_SHARD = hashlib.sha256(sharded_files()[SHARDS[1]]).hexdigest()


@pytest.mark.parametrize(
    ("name", "method", "pattern"),
    [("pirate", "PUT", "/lfs-upload/"), ("pirate", "POST", "/commit/"), ("mixed", "PUT", SECOND_SHARD)],
)
def test_killed_in_mid_push(
    registry: Registry, hub_server: HubServer, tmp_path: Path, name: str, method: str, pattern: str
) -> None:
    publish = {"pirate": publish_pirate, "mixed": publish_mixed}[name]
    version = publish(registry, tmp_path / "src", licence="mit")
    before = snapshot(registry.home)
    hub_server.stall(method, pattern)
    process = start(registry.home, hub_server, name)
    wait_for(hub_server, method, pattern, process)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)

    repo = hub_server.store.repos["model", f"ada/{name}"]
    assert [each.title for each in repo.history()] == ["initial commit"]
    assert set(repo.head().files) == {".gitattributes"}
    assert repo.tags == {}
    assert registry.get(name) == version
    assert snapshot(registry.home) == before
    assert registry.verify().is_ok

    again = start(registry.home, hub_server, name)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    assert output.strip() == repo.head().oid
    assert [each.title for each in repo.history()] == [f"Publish {name}:v1", "initial commit"]

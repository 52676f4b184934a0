"""A process is its pid and its start time: another one with the same pid is never taken for it, nor signalled."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medley.jobs.process import identify, is_alive, signal_group, spawn_detached
from tests.jobs.conftest import wait_until_gone


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen]:
    """A process that leads a group of its own and does nothing for a minute."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_we_are_alive_and_always_called_the_same() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert me.pid == os.getpid()
    assert is_alive(me)
    assert identify(os.getpid()) == me


def test_a_process_is_gone_once_it_ended_even_before_it_is_reaped() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = identify(child.pid)
    assert name is not None
    assert is_alive(name)
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, but still a zombie
    assert not is_alive(name)
    child.wait()
    assert not is_alive(name)


def test_a_stale_name_is_never_signalled(sleeper: subprocess.Popen) -> None:
    name = identify(sleeper.pid)
    assert name is not None
    stale = dataclasses.replace(name, start=name.start + "0")
    assert not is_alive(stale)
    assert not signal_group(stale, signal.SIGKILL)
    assert sleeper.poll() is None
    assert signal_group(name, signal.SIGKILL)
    assert sleeper.wait(10) == -signal.SIGKILL


def test_a_process_in_our_own_group_is_never_signalled() -> None:
    child = subprocess.Popen(["sleep", "60"])  # shares our group: killpg would end us
    name = identify(child.pid)
    assert name is not None
    assert not signal_group(name, signal.SIGTERM)
    assert child.poll() is None
    child.kill()
    child.wait()


def test_the_whole_group_gets_the_signal(tmp_path: Path) -> None:
    """A worker's own helpers (data loaders) must not outlive it."""
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    log = tmp_path / "log.txt"
    name = spawn_detached([sys.executable, "-c", code], folder=tmp_path, log=log, environment=os.environ)
    assert name is not None
    helper = identify(int(_first_line(log)))
    assert helper is not None
    assert signal_group(name, signal.SIGKILL)
    wait_until_gone(name)
    wait_until_gone(helper)


def test_a_detached_process_has_its_own_session_and_an_output_file(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getsid(0) == os.getpid(), os.environ['WORD'], os.getcwd(), sys.stdin.read() == '')"
    folder = tmp_path / "a folder"
    folder.mkdir()
    log = folder / "log.txt"
    log.write_text("before\n")
    environment = {**os.environ, "WORD": "seen"}
    spawn_detached([sys.executable, "-c", code], folder=folder, log=log, environment=environment)
    deadline = time.monotonic() + 20
    while len(log.read_text().splitlines()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert log.read_text() == f"before\nTrue seen {folder} True\n"


def _first_line(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not path.read_text().endswith("\n") and time.monotonic() < deadline:
        time.sleep(0.02)
    return path.read_text().splitlines()[0]

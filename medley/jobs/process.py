"""One operating-system process: named so that it cannot be mistaken for another, started detached, signalled safely.

A pid alone is not a name: the system gives it to somebody else once its owner is gone. A pid with its start time is.
"""

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessName:
    """Attributes: pid; start: when it started, as text that no later process with this pid shares."""

    pid: int
    start: str


def identify(pid: int) -> ProcessName | None:
    """The process that has this pid now, or None when there is none or it has ended and only waits to be reaped."""
    return _identify_by_proc(pid) if sys.platform == "linux" else _identify_by_psutil(pid)


def _identify_by_proc(pid: int) -> ProcessName | None:
    # The kernel's own tick count since boot: psutil derives seconds from it, and these move when the clock is set.
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *rest = line[line.rindex(")") + 2 :].split()  # the name in brackets may hold anything, spaces too
    if state in "ZXx":
        return None
    return ProcessName(pid, f"{_boot_id()}:{rest[18]}")  # field 22 of proc(5), starttime


@functools.cache
def _boot_id() -> str:
    """Which start of the machine this is; some sandboxes do not say, and then the ticks must do."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _identify_by_psutil(pid: int) -> ProcessName | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessName(pid, f"{process.create_time():.2f}")
    except psutil.Error:
        return None


def is_alive(process: ProcessName) -> bool:
    """True while the very process runs, not another one that has its pid now."""
    return identify(process.pid) == process


def spawn_detached(
    command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str]
) -> ProcessName | None:
    """Start a process in a session and process group of its own, its output appended to a file.

    It gets no signal meant for us (Ctrl-C, a closed terminal, a service manager's stop of our group) and outlives us.

    Returns:
        its name, or None when it was over before it could be asked.

    Raises:
        OSError: it could not be started.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    name = identify(child.pid)
    threading.Thread(target=child.wait, name=f"reap-{child.pid}", daemon=True).start()  # else it stays a zombie
    return name


def signal_group(process: ProcessName, signal_number: signal.Signals) -> bool:
    """Send a signal to the process and its children; False when it is gone, or does not lead a group of its own.

    The check comes first each time: a stale pid that somebody else has now is never signalled.
    """
    try:
        if not is_alive(process) or os.getpgid(process.pid) != process.pid:
            return False
        os.killpg(process.pid, signal_number)
    except (ProcessLookupError, PermissionError):
        return False
    return True

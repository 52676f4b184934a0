"""Runs an action again and again, killed by SIGKILL before its first system call, then its second, … until it finishes.

    python -m tests.hub.crash_driver ACTION WORKDIR

Each run has its own home, WORKDIR/0001, WORKDIR/0002, …, prepared without interference. The last line printed is the
number of runs; in the last one the action was not interrupted. What is counted is every call that changes a disk.
"""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub import Parent, Registry, open_registry

MAX_RUNS = 500
COUNTED = ("mkdir", "open", "rename", "fsync", "chmod", "fchmod", "unlink", "rmdir", "close")


def prepare_nothing(home: Path) -> None:
    pass


def prepare_parent(home: Path) -> None:
    registry = open_registry(home)
    registry.publish("adapter", "parent", home.parent / "parent-files")
    registry.set_alias("parent", "production", 1)
    registry.close()


def prepare_two(home: Path) -> None:
    registry = open_registry(home)
    registry.publish("adapter", "parent", home.parent / "parent-files")
    registry.publish("adapter", "parent", home.parent / "child-files")
    registry.set_alias("parent", "production", 1)
    registry.close()


def publish_child(registry: Registry) -> None:
    parent = registry.get("parent") if registry.exists("parent") else None
    parents = [Parent(parent.id, "init")] if parent else []
    registry.publish("adapter", "child", registry.home.parent / "child-files", parents=parents, metadata={"rank": 4})


def move_alias(registry: Registry) -> None:
    registry.set_alias("parent", "production", 2, expected=1)


def remove_and_collect(registry: Registry) -> None:
    registry.remove("parent:v2")
    registry.gc(grace_s=0)


ACTIONS: dict[str, tuple[Callable[[Path], None], Callable[[Registry], None]]] = {
    "first publish": (prepare_nothing, publish_child),
    "publish": (prepare_parent, publish_child),
    "move alias": (prepare_two, move_alias),
    "remove": (prepare_two, remove_and_collect),
}


def arm(kill_at: int) -> None:
    """From here on the process dies before the `kill_at`-th counted call."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            count()
            return real(*arguments, **options)

        return call

    class CountedConnection(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            count()
            return super().execute(*arguments)

    connect = sqlite3.connect
    sqlite3.connect = lambda *arguments, **options: connect(*arguments, factory=CountedConnection, **options)
    for name in COUNTED:
        setattr(os, name, counted(getattr(os, name)))


def run(action: str, workdir: Path) -> int:
    prepare, act = ACTIONS[action]
    for kill_at in range(1, MAX_RUNS):
        home = workdir / f"{kill_at:04}"
        prepare(home)
        child = os.fork()
        if child == 0:
            arm(kill_at)
            act(open_registry(home))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            return kill_at
        if status != -signal.SIGKILL:
            raise SystemExit(f"run {kill_at} ended with {status} instead of being killed")
    raise SystemExit(f"not finished after {MAX_RUNS} runs")


if __name__ == "__main__":
    print(run(sys.argv[1], Path(sys.argv[2])))

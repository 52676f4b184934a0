"""One of several processes that do the same thing at the same moment.

    python -m tests.hub.racer ACTION HOME ARGUMENT…

It opens the registry, prints "ready", waits for a line on stdin, acts, and prints one JSON value: what came of it.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub import Registry, open_registry
from medley.errors import ConflictError

MOST_ROUNDS = 1000


def publish(registry: Registry, name: str, folder: str) -> list[Any]:
    version = registry.publish("adapter", name, Path(folder))
    return [version.number, version.id]


def move(registry: Registry, number: str, expected: str) -> str:
    try:
        registry.set_alias("pirate", "production", int(number), expected=int(expected))
    except ConflictError:
        return "lost"
    return "won"


def publish_often(registry: Registry, name: str, folder: str, times: str) -> bool:
    """Publishes and removes the same content again and again; True if it was there whenever it had to be.

    At least `times`, and on until a collector has really taken something away (on a quick machine it may need a while).
    """
    is_there, rounds = True, 0
    while rounds < int(times) or (rounds < MOST_ROUNDS and not (registry.home / "collected").exists()):
        version = registry.publish("adapter", name, Path(folder))
        is_there &= (version.path / "f").read_bytes() == (Path(folder) / "f").read_bytes()
        registry.remove(version.label)
        time.sleep(0.005)  # removed for a moment, or no collector would ever find it so
        rounds += 1
    final = registry.publish("adapter", name, Path(folder))
    (registry.home / f"finished-{name}").touch()
    return is_there and (final.path / "f").is_file()


def collect_until(registry: Registry, publishers: str) -> int:
    """Collects without grace until so many publishers have finished; counts the folders it took away."""
    taken = 0
    while len(list(registry.home.glob("finished-*"))) < int(publishers):
        taken += len(registry.gc(grace_s=0).folders)
        if taken:
            (registry.home / "collected").touch()
    return taken


def migrate_fresh(registry: Registry) -> int:
    return registry.count()


ACTIONS: dict[str, Callable[..., Any]] = {
    "publish": publish,
    "move": move,
    "publish often": publish_often,
    "collect until": collect_until,
    "open": migrate_fresh,
}

if __name__ == "__main__":
    action, home, *arguments = sys.argv[1:]
    if action == "open":  # the opening itself is the race
        print("ready", flush=True)
        sys.stdin.readline()
    opened = open_registry(Path(home))
    if action != "open":
        print("ready", flush=True)
        sys.stdin.readline()
    print(json.dumps(ACTIONS[action](opened, *arguments)))

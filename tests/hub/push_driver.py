"""A process that pushes and can be killed in the middle: push_driver HOME NAME REPO [ENDPOINT], token on stdin."""

import sys
from pathlib import Path

from hub import open_registry
from hub.plan import plan_push
from hub.push import push

if __name__ == "__main__":
    registry = open_registry(Path(sys.argv[1]))
    plan = plan_push(registry, sys.argv[2], sys.argv[3], private=True)
    endpoint = sys.argv[4] if len(sys.argv) > 4 else None
    print(push(registry, plan, token=sys.stdin.readline(), endpoint=endpoint).commit)

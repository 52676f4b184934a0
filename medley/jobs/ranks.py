"""One training by several processes (ranks) at once: started, followed, stopped and ended together.

Every rank runs `python -m medley.jobs.rank ranks.json` with the variables that accelerate and torch read (RANK,
WORLD_SIZE, MASTER_ADDR, …), so that `accelerate launch --multi_gpu -m medley.jobs.rank ranks.json` does as well. They
stay in the worker's process group: what ends the job ends them.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley import errors
from medley.errors import JobError, UserError
from medley.events import read_events
from medley.jobs.device import core_count

if TYPE_CHECKING:
    from trainers import TrainResult, TrainWork

SPEC, EVENTS, RESULT, ERROR, STOP = "ranks.json", "events.jsonl", "result.json", "error.json", "stop"
POLL_S = 0.2
LINGER_S = 10.0  # what the others may take to end after the first has failed
PLACES = ("base_dir", "data_dir", "out_dir", "init_adapter", "resume_from")


def train_together(trainer: str, options: Mapping[str, Any], work: "TrainWork", processes: int) -> "TrainResult":
    """Train with several processes, each with its own rows; the events and the result are those of the first.

    Args:
        trainer, options: as in the job's spec.
        work: its `emit` and `should_stop` are asked here, for all ranks.
        processes: how many.

    Raises:
        UserError: what a rank raised.
        JobError: a rank ended without a word; the log has its last ones.
    """
    folder = work.out_dir / "ranks"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (EVENTS, RESULT, ERROR, STOP):
        (folder / name).unlink(missing_ok=True)
    (folder / SPEC).write_text(json.dumps(_plain(trainer, options, work)), encoding="utf-8")
    ranks = [_start(folder, rank, processes) for rank in range(processes)]
    try:
        _follow(ranks, folder, work)
    finally:
        _end(ranks)
    return _outcome(folder)


def _plain(trainer: str, options: Mapping[str, Any], work: "TrainWork") -> dict[str, Any]:
    places = {name: str(getattr(work, name)) if getattr(work, name) else None for name in PLACES}
    adapters = {ref: str(path) for ref, path in work.adapters.items()}
    names = {"base_id": work.base_id, "base_revision": work.base_revision}
    return {"trainer": trainer, "options": dict(options), "work": {**places, **names, "adapters": adapters}}


def _start(folder: Path, rank: int, processes: int) -> subprocess.Popen[bytes]:
    if rank == 0:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            (folder / "port").write_text(str(free.getsockname()[1]), encoding="ascii")
    variables = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": (folder / "port").read_text(encoding="ascii"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, core_count() // processes)),
    }
    command = [sys.executable, "-P", "-m", "medley.jobs.rank", str(folder / SPEC)]
    return subprocess.Popen(command, env={**os.environ, **variables}, stdin=subprocess.DEVNULL)


def _follow(ranks: Sequence[subprocess.Popen[bytes]], folder: Path, work: "TrainWork") -> None:
    """Pass on events and the wish to stop until every rank has ended, or one has failed."""
    offset = 0
    while True:
        codes = [rank.poll() for rank in ranks]
        events, offset = read_events(folder / EVENTS, offset)
        for event in events:
            event.pop("time")
            work.emit(event.pop("kind"), **event)
        if work.should_stop():
            (folder / STOP).touch()
        if all(code is not None for code in codes) or any(codes):
            return
        time.sleep(POLL_S)


def _end(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    """See to it that none is left: one that waits for a failed one would wait for ever."""
    deadline = time.monotonic() + LINGER_S
    for rank in ranks:
        rank.terminate()
    for rank in ranks:
        try:
            rank.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()


def _outcome(folder: Path) -> "TrainResult":
    from trainers import TrainResult

    if (folder / ERROR).is_file():
        told = json.loads((folder / ERROR).read_text(encoding="utf-8"))
        kind = getattr(errors, told["kind"], UserError)
        raise (kind if kind is not errors.ProblemsError else UserError)(told["text"])
    if not (folder / RESULT).is_file():
        raise JobError("One of the processes that trained together ended without a result. The log has its last words.")
    values = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    places = {name: Path(values[name]) if values[name] else None for name in ("adapter_dir", "checkpoint")}
    return TrainResult(**{**values, **places})


def result_text(result: "TrainResult") -> str:
    """A result as JSON, for `_outcome` to read."""
    return json.dumps(asdict(result), default=str)

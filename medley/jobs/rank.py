"""One of the processes of a training by several: `python -m medley.jobs.rank ranks.json`, see `medley.jobs.ranks`.

The first one (rank 0) writes events, result and errors; the others only work. Any launcher that sets RANK and
WORLD_SIZE may start it.
"""

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medley.errors import ParameterError, UserError
from medley.events import Emit, EventLog, ignore_event
from medley.jobs.ranks import ERROR, EVENTS, PLACES, RESULT, STOP, result_text

WATCH_EVERY_S = 0.5


def main(arguments: Sequence[str]) -> int:
    """Do this rank's part; 0 when it is done or stopped, 1 when it failed."""
    spec_path, rank = Path(arguments[0]), int(os.environ.get("RANK", "0"))
    warnings.simplefilter("ignore", FutureWarning)  # as in the worker
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    folder = spec_path.parent
    try:
        result = _train(json.loads(spec_path.read_text(encoding="utf-8")), folder, is_first=rank == 0)
    except UserError as error:
        write_whole(folder / ERROR, json.dumps({"kind": type(error).__name__, "text": str(error)}))
        return 1
    if rank == 0:
        write_whole(folder / RESULT, result_text(result))
    return 0


def write_whole(path: Path, text: str) -> None:
    """The text under this name, by a rename, so that nobody reads half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _train(spec: dict[str, Any], folder: Path, *, is_first: bool) -> Any:
    from medley.options import from_mapping
    from trainers import TRAINERS, TrainWork

    trainer, work = TRAINERS[spec["trainer"]], spec["work"]
    options = from_mapping(trainer.options_class, spec["options"])
    take_device(options.device, int(os.environ.get("LOCAL_RANK", "0")), options.num_processes)
    places = {name: Path(work[name]) if work[name] else None for name in PLACES}
    emit: Emit = EventLog(folder / EVENTS).emit if is_first else ignore_event
    return trainer.train(
        options,
        TrainWork(
            **{**work, **places, "adapters": {ref: Path(path) for ref, path in work["adapters"].items()}},
            emit=emit,
            should_stop=agreed_stop((folder / STOP).exists),
        ),
    )


def take_device(device: str, local_rank: int, processes: int) -> None:
    """Make this rank's own GPU the one that "cuda" means; nothing on a CPU.

    Raises:
        ParameterError: there are fewer GPUs than processes, or none of the kind that is wanted.
    """
    import torch

    from medley.lm.load import choose_device

    name = choose_device(device=device).name
    if name == "mps":
        raise ParameterError(f"An Apple GPU trains in one process only, got num_processes={processes}. Leave it at 1.")
    if name == "cuda":
        count = torch.cuda.device_count()
        if processes > count:
            raise ParameterError(f"num_processes is {processes}, but this machine has {count} GPUs. Lower it.")
        torch.cuda.set_device(local_rank)


def agreed_stop(is_asked: Callable[[], bool]) -> Callable[[], bool]:
    """A question to which every rank gets the first one's answer, so that all stop after the same step."""

    def ask() -> bool:
        import torch
        from accelerate import PartialState
        from accelerate.utils import broadcast

        state = PartialState()
        if state.num_processes == 1:
            return is_asked()
        return bool(broadcast(torch.tensor([is_asked()], dtype=torch.int32, device=state.device)).item())

    return ask


def _leave_with_parent(parent: int) -> None:
    """End when the worker is gone, however it went: nobody would read what comes after."""
    while os.getppid() == parent:
        time.sleep(WATCH_EVERY_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

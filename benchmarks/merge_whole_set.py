"""A whole set of adapters, from files to a file: against copying the same bytes."""

import statistics
import tempfile
from argparse import Namespace
from pathlib import Path

from benchmarks.merge_case import Result, Row, bytes_text, processor_note, seconds_text
from benchmarks.merge_child import run_child
from benchmarks.merge_inputs import llama_shapes, write_random_adapter

ADAPTERS, RANK = 4, 16
WEIGHTS = (0.4, 0.3, 0.2, 0.1)
GOALS = {"concat": 4, "linear": 10}
MEMORY_GOAL = 1.5


def whole_set(options: Namespace) -> Result:
    """`concat`, and `linear` cut to rank 16, of four adapters as large as those of a 7B model."""
    shapes = llama_shapes(options.layers)
    with tempfile.TemporaryDirectory(prefix="medley-bench-") as temporary:
        place = Path(temporary)
        folders = [
            write_random_adapter(place / str(index), shapes, rank=RANK, seed=index, base_model="org/base")
            for index in range(ADAPTERS)
        ]
        files = [str(folder / "adapter_model.safetensors") for folder in folders]
        size = sum(Path(file).stat().st_size for file in files)
        measured: dict[str, list[dict[str, float]]] = {"copy": [], "concat": [], "linear": []}
        for round_number in range(options.set_rounds):
            for name, runs in measured.items():
                out = str(place / f"{name}-{round_number}")
                arguments = {"sources": files} if name == "copy" else {"recipe": _recipe(name, folders)}
                work = "copy" if name == "copy" else "merge"
                runs.append(run_child(work, options.threads, out=out, **arguments))
                _remove(Path(out))
    seconds = {name: statistics.median(run["seconds"] for run in runs) for name, runs in measured.items()}
    peaks = {name: max(run["peak_bytes"] for run in runs) for name, runs in measured.items()}
    rows = [row for name in GOALS for row in _rows(name, seconds, peaks[name], size)]
    note = (
        f"{ADAPTERS} adapters of rank {RANK} over {len(shapes)} modules of 4096, 11008 and 14336, {bytes_text(size)} "
        f"in bf16; the median of {options.set_rounds} rounds in turns, in processes of their own, {options.threads} "
        f"threads; both sides end with the bytes on the disk. {processor_note(measured)}"
    )
    return Result(rows, note)


def _recipe(method: str, folders: list[Path]) -> dict[str, object]:
    pairs = zip(folders, WEIGHTS, strict=True)
    models = [{"model": str(folder), "parameters": {"weight": weight}} for folder, weight in pairs]
    return {"merge_method": method, "models": models, **({"rank": RANK} if method == "linear" else {})}


def _rows(name: str, seconds: dict[str, float], peak: float, size: int) -> list[Row]:
    called = "`concat`" if name == "concat" else f"`linear` cut to rank {RANK}"
    time_row = Row(
        f"whole set, {called}, against copying the inputs",
        f"≤ {GOALS[name]}x the time",
        seconds[name] / seconds["copy"],
        GOALS[name],
        is_floor=False,
        ours=seconds_text(seconds[name]),
        theirs=seconds_text(seconds["copy"]),
    )
    memory_row = Row(
        f"whole set, {called}, peak memory",
        f"≤ {MEMORY_GOAL}x the inputs' size",
        peak / size,
        MEMORY_GOAL,
        is_floor=False,
        ours=bytes_text(peak),
        theirs=bytes_text(size),
    )
    return [time_row, memory_row]


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()

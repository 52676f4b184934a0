"""One piece of work in a process of its own: how long it took, and how much memory beyond its imports.

    python -m benchmarks.merge_child '{"work": "copy", …}'

Time is of the work without the imports; memory is the peak resident size less the resident size after all imports. It
reads Linux's /proc.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.memory import resident

ROOT = Path(__file__).resolve().parents[1]


def run_child(work: str, threads: int, **arguments: Any) -> dict[str, float]:
    """What one kind of work took in a fresh process.

    {"seconds", "processor_seconds" of all its threads, "peak_bytes", and "process_seconds", imports included}.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    case = json.dumps({"work": work, **arguments})
    command = [sys.executable, "-m", "benchmarks.merge_child", case]
    started = time.perf_counter()
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{work} failed:\n{run.stderr[-4000:]}")
    return {**json.loads(run.stdout.splitlines()[-1]), "process_seconds": time.perf_counter() - started}


def flush(out: str) -> None:
    """Every contender's result is on the disk at the end, as ours always is."""
    for path in Path(out).iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def copy(sources: list[str], out: str) -> None:
    """The same bytes, read and written."""
    import shutil

    Path(out).mkdir()
    for index, source in enumerate(sources):
        shutil.copyfile(source, Path(out) / str(index))
    flush(out)


def merge(recipe: Mapping[str, Any], out: str) -> None:
    import merging

    merging.merge(recipe, Path(out))


def fold(base: str, adapter: str, out: str) -> None:
    from merging.folding.plan import FoldInput
    from merging.folding.run import fold as fold_adapters

    fold_adapters(Path(base), [FoldInput(Path(adapter))], Path(out))


def merge_and_unload(base: str, adapter: str, out: str) -> None:
    """What a peft user writes."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
    AutoTokenizer.from_pretrained(base).save_pretrained(out)
    flush(out)


def extract(base: str, model: str, out: str, rank: int) -> None:
    from merging.extracting.options import ExtractOptions
    from merging.extracting.run import extract_adapter

    extract_adapter(base, model, Path(out), ExtractOptions(rank=str(rank), others="ignore"), base_model="org/base")


def mergekit_yaml(recipe: str, out: str, options: list[str]) -> None:
    from mergekit.scripts.run_yaml import main

    main([recipe, out, *options], standalone_mode=False)
    flush(out)


def mergekit_extract_lora(out: str, options: list[str]) -> None:
    from mergekit.scripts.extract_lora import main

    main([f"--out-path={out}", *options], standalone_mode=False)
    flush(out)


def import_for(work: str) -> None:
    """Everything that a kind of work imports, so that it counts neither as time nor as memory."""
    import merging.methods.concat
    import merging.methods.linear
    import merging.methods.ties
    import merging.run
    import merging.solve
    import merging.steps

    if work in ("fold", "extract"):
        import merging.extracting.run
        import merging.folding.run  # noqa: F401
    if work == "merge_and_unload" or work.startswith("mergekit"):
        import peft  # noqa: F401
        from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401
    if work.startswith("mergekit"):
        import mergekit.scripts.extract_lora
        import mergekit.scripts.run_yaml  # noqa: F401


WORK: dict[str, Callable[..., None]] = {
    each.__name__: each for each in (copy, merge, fold, merge_and_unload, extract, mergekit_yaml, mergekit_extract_lora)
}


def main() -> None:
    case = json.loads(sys.argv[1])
    work = case.pop("work")
    import_for(work)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before = resident("VmRSS")
    started, processor_started = time.perf_counter(), time.process_time()
    WORK[work](**case)
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - processor_started
    peak = resident("VmHWM") - before
    print(json.dumps({"seconds": seconds, "processor_seconds": processor_seconds, "peak_bytes": peak}))


if __name__ == "__main__":
    main()

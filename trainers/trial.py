"""One type of a comparison, trained and measured in a process of its own, so that its peak memory is its own.

    python -m trainers.trial WORK.json     WORK.json: options, base_dir, base_id, data_dir, out_dir, texts, out

Events go to stdout, a JSON line each; the numbers go to the file `out`. Ending the process ends the trial.
"""

import json
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import ParameterError, UserError
from medley.lm.importing import import_quickly
from medley.lm.load import load_base
from medley.options import from_mapping
from trainers import SFTOptions, TrainWork
from trainers.adapter_kinds import with_rate

if TYPE_CHECKING:
    from trainers import TrainResult

FAILED = 1  # exit code; the last line on stdout then is an event of kind "error"


def main(arguments: list[str]) -> int:
    """Do the trial that the file describes."""
    given = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        numbers = run_trial(given)
    except UserError as error:
        emit("error", text=str(error))
        return FAILED
    Path(given["out"]).write_text(json.dumps(numbers), encoding="utf-8")
    return 0


def emit(kind: str, **fields: Any) -> None:
    """Write an event to stdout."""
    print(json.dumps({"kind": kind, **fields}), flush=True)


def run_trial(given: Mapping[str, Any]) -> dict[str, Any]:
    """Train, then measure: the numbers of a `TypeRow`, by its names, without the type's own."""
    with import_quickly():
        import torch
        import trl  # noqa: F401  # imported before the memory is first looked at, as are all of these
        from peft import PeftModel

        from medley.lm.ia3_types import keep_number_types
        from trainers.forgetting import measure_forgetting
        from trainers.sft import train

    imported_bytes = resident_bytes()
    options = with_rate(from_mapping(SFTOptions, given["options"]))
    measured: dict[str, float] = {}

    def listen(kind: str, **fields: Any) -> None:
        if kind == "metric":
            measured.update(fields)
        emit(kind, **fields)

    places = {name: Path(given[name]) for name in ("base_dir", "data_dir", "out_dir")}
    result = train(options, TrainWork(**places, base_id=given["base_id"], emit=listen))
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_bytes() - imported_bytes
    if "eval_loss" not in result.metrics:
        raise ParameterError("The dataset has no eval split to measure on. Import it with one.")
    emit("progress", step=result.steps, total=result.steps, text="Measuring what was forgotten")
    base = load_base(places["base_dir"], quant=options.quant, device=options.device)
    model = PeftModel.from_pretrained(base.model, str(result.adapter_dir))
    keep_number_types(model)
    forgot = measure_forgetting(model, base.tokenizer, given["texts"])
    return {
        **_numbers_of(result),
        "token_accuracy": measured["eval_mean_token_accuracy"],
        "forgetting": forgot.change,
        "forgetting_error": forgot.error,
        "memory_max": peak,
        "learning_rate": options.learning_rate,
    }


def _numbers_of(result: "TrainResult") -> dict[str, Any]:
    """What a training says of itself, by the names of a `TypeRow`."""
    metrics = result.metrics
    return {
        "eval_loss": metrics["eval_loss"],
        "eval_loss_before": metrics["eval_loss_before"],
        "train_time": metrics["train_runtime_s"],
        "file_size": (result.adapter_dir / "adapter_model.safetensors").stat().st_size,
        "num_trainable_params": int(metrics["num_trainable_params"]),
        "train_loss": metrics["train_loss"],
        "steps": result.steps,
    }


def peak_bytes() -> int:
    """The largest resident size of this program; `getrusage` would count what started it as well, on Linux."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024


def resident_bytes() -> int:
    """The resident size now; where the system does not tell, the largest so far."""
    if sys.platform != "linux":
        return peak_bytes()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

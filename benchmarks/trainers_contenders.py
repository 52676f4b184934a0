"""What `benchmarks.trainers` measures: our trainers, and the scripts that TRL's documentation would have you write.

python -m benchmarks.trainers_contenders trl-dpo BASE DATA 12      prints one number, a speed
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SAME_SETTINGS = ("sft", "reward", "dpo")
RANK, BATCH_SIZE, MAX_LENGTH, LEARNING_RATE = 16, 8, 512, 2e-4


def ours(trainer: str, base_dir: Path, data_dir: Path, steps: int) -> float:
    """Steps a second of one of our trainers, without what the bare script does not do either."""
    options = {
        "max_steps": steps,
        "batch_size": BATCH_SIZE,
        "rank": RANK,
        "max_length": MAX_LENGTH,
        "learning_rate": LEARNING_RATE,
        "group_by_length": False,
        "max_eval_rows": 0,
        "save_every": 10_000,
        **({"kl_samples": 0} if trainer == "dpo" else {}),
    }
    moments = _train(trainer, base_dir, data_dir, options)
    return (len(moments) - 1) / (moments[-1] - moments[0])


def our_defaults(base_dir: Path, data_dir: Path) -> float:
    """Tokens a second of `medley train sft` as it comes."""
    began: list[float] = []
    moments = _train("sft", base_dir, data_dir, {"epochs": 1.0, "max_eval_rows": 0}, began)
    return _tokens(base_dir, data_dir) / (moments[-1] - began[0])


def _train(
    trainer: str, base_dir: Path, data_dir: Path, options: Mapping[str, Any], began: list[float] | None = None
) -> list[float]:
    """The moments at which the steps of a run of ours ended; `began` gets the one at which the first began."""
    from transformers import TrainerCallback

    from medley.options import from_mapping
    from trainers import TRAINERS, TrainWork
    from trainers.reporting import Reporter

    moments: list[float] = []
    on_step_begin = Reporter.on_step_begin

    def note_begin(self: TrainerCallback, *args: Any, **kwargs: Any) -> None:
        if began is not None:
            began.append(time.perf_counter())
        on_step_begin(self, *args, **kwargs)

    def emit(kind: str, **fields: Any) -> None:
        if kind == "progress" and fields["total"]:
            moments.append(time.perf_counter())

    Reporter.on_step_begin = note_begin  # type: ignore[method-assign]
    row = TRAINERS[trainer]
    with tempfile.TemporaryDirectory() as folder:
        work = TrainWork(
            base_dir=base_dir, base_id="benchmark/base", data_dir=data_dir, out_dir=Path(folder), emit=emit
        )
        row.train(from_mapping(row.options_class, options), work)
    return moments


def bare_trl(trainer: str, base_dir: Path, data_dir: Path, steps: int) -> float:
    """Steps a second of a TRL script with the same settings."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from medley.lm.load import choose_device

    device = choose_device()
    auto = AutoModelForSequenceClassification if trainer == "reward" else AutoModelForCausalLM
    extra = {"num_labels": 1} if trainer == "reward" else {}
    same = {
        "max_steps": steps,
        "per_device_train_batch_size": BATCH_SIZE,
        "max_length": MAX_LENGTH,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "cosine",
        "gradient_checkpointing": False,
        "logging_steps": 1,
    }
    model = auto.from_pretrained(base_dir, dtype=getattr(torch, device.dtype), **extra)
    _, moments = _run_trl(trainer, model, base_dir, data_dir, same)
    return (len(moments) - 1) / (moments[-1] - moments[0])


def trl_defaults(base_dir: Path, data_dir: Path) -> float:
    """Tokens a second of TRL's defaults; what it loads by name, it loads in float32."""
    begins, ends = _run_trl("sft", str(base_dir), base_dir, data_dir, {"num_train_epochs": 1})
    return _tokens(base_dir, data_dir) / (ends[-1] - begins[0])


def _run_trl(
    trainer: str, model: Any, base_dir: Path, data_dir: Path, settings: Mapping[str, Any]
) -> tuple[list[float], list[float]]:
    """The moments at which the steps of a TRL run began and ended."""
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, PrinterCallback, TrainerCallback

    from medley.corpus import read_rows
    from medley.lm.load import choose_device

    begins: list[float] = []
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            begins.append(time.perf_counter())

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    name = {"sft": "SFT", "reward": "Reward", "dpo": "DPO"}[trainer]
    head = {"task_type": "SEQ_CLS", "modules_to_save": ["score"]} if trainer == "reward" else {"task_type": "CAUSAL_LM"}
    with tempfile.TemporaryDirectory() as folder:
        on_cpu = {"use_cpu": True, "bf16": False} if choose_device().name == "cpu" else {}
        quiet = {"output_dir": folder, "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
        built = getattr(trl, f"{name}Trainer")(
            model=model,
            args=getattr(trl, f"{name}Config")(**quiet, **on_cpu, **settings),
            train_dataset=Dataset.from_list(read_rows(data_dir, "train")),
            processing_class=AutoTokenizer.from_pretrained(base_dir),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", **head),
            callbacks=[Clock()],
        )
        built.remove_callback(PrinterCallback)
        built.train()
    return begins, ends


def _tokens(base_dir: Path, data_dir: Path) -> int:
    """Tokens of all training rows, without padding: the same work for both sides."""
    from medley.corpus import read_rows
    from medley.corpus.tokens import encode_all
    from medley.lm.load import load_tokenizer

    encoded, _ = encode_all(read_rows(data_dir, "train"), load_tokenizer(base_dir), max_length=1024)
    return sum(len(row.input_ids) for row in encoded)


def main() -> None:
    case, base_dir, data_dir, steps = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    contenders: dict[str, Callable[[], float]] = {
        "defaults": lambda: our_defaults(base_dir, data_dir),
        "trl-defaults": lambda: trl_defaults(base_dir, data_dir),
        **{name: lambda name=name: ours(name, base_dir, data_dir, steps) for name in SAME_SETTINGS},
        **{f"trl-{name}": lambda name=name: bare_trl(name, base_dir, data_dir, steps) for name in SAME_SETTINGS},
    }
    print(contenders[case]())


if __name__ == "__main__":
    main()

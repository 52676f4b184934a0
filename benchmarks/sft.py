"""SFT steps a second against a bare TRL script with the same settings, in turns, in one run.

    python -m benchmarks.sft [--steps 12] [--rounds 3]

Both train LoRA (rank 16, all linear layers) on the bundled base with batches of 8 rows of the pirate example. The time
is from the end of the first optimizer step to the end of the last, so that loading and preparing do not count.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.table import print_ratio_table

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "pirate.jsonl"
GOAL = 0.95
BATCH_SIZE, RANK, MAX_LENGTH, LEARNING_RATE = 8, 16, 512, 2e-4


def ours(base_dir: Path, data_dir: Path, steps: int) -> float:
    """Steps a second of `trainers.sft`."""
    from trainers import TRAINERS, SFTOptions, TrainWork

    moments: list[float] = []

    def emit(kind: str, **fields: Any) -> None:
        if kind == "progress" and fields["total"]:
            moments.append(time.perf_counter())

    options = SFTOptions(
        max_steps=steps,
        batch_size=BATCH_SIZE,
        rank=RANK,
        max_length=MAX_LENGTH,
        learning_rate=LEARNING_RATE,
        group_by_length=False,
        max_eval_rows=0,
        save_every=10_000,
    )
    with tempfile.TemporaryDirectory() as folder:
        work = TrainWork(
            base_dir=base_dir, base_id="benchmark/base", data_dir=data_dir, out_dir=Path(folder), emit=emit
        )
        TRAINERS["sft"].train(options, work)
    return (len(moments) - 1) / (moments[-1] - moments[0])


def bare_trl(base_dir: Path, data_dir: Path, steps: int) -> float:
    """Steps a second of the script that TRL's own documentation would have you write."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from medley.corpus import read_rows
    from medley.lm.load import choose_device

    moments: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            moments.append(time.perf_counter())

    device = choose_device()
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=BATCH_SIZE,
            max_length=MAX_LENGTH,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="cosine",
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=device.name == "cpu",
            bf16=False,
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(base_dir, dtype=getattr(torch, device.dtype)),
            args=config,
            train_dataset=Dataset.from_list(read_rows(data_dir, "train")),
            processing_class=AutoTokenizer.from_pretrained(base_dir),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return (len(moments) - 1) / (moments[-1] - moments[0])


def measure(steps: int, rounds: int) -> dict[str, float]:
    """Median steps a second of both, measured in turns so that a noisy machine disturbs both alike."""
    from medley.corpus import import_dataset
    from medley.lm.bundled import prepare_bundled

    contenders: dict[str, Callable[[Path, Path, int], float]] = {"bare TRL script": bare_trl, "medley train sft": ours}
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as folder:
        base_dir = prepare_bundled(Path(folder) / "base")
        data_dir = Path(folder) / "data"
        import_dataset(EXAMPLE, data_dir)
        for _ in range(rounds):
            for name, run in contenders.items():
                speeds[name].append(run(base_dir, data_dir, steps))
    return {name: statistics.median(values) for name, values in speeds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps in one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    arguments = parser.parse_args()
    speeds = measure(arguments.steps, arguments.rounds)
    print_ratio_table(
        "Supervised fine-tuning",
        f"Bundled base, LoRA rank {RANK} on all linear layers, batch {BATCH_SIZE}, median of {arguments.rounds} runs "
        f"of {arguments.steps} steps each.",
        unit="steps/s",
        values=speeds,
        peer="bare TRL script",
        goal=f"at least {GOAL}x",
    )


if __name__ == "__main__":
    main()

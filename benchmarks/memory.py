"""Estimated against measured peak memory of every trainer, two steps each on the bundled base.

    python -m benchmarks.memory [--trainer dpo]

Measured is the peak resident size less the resident size after all imports, in a fresh process each; estimated is
`trainers.estimate`, for rows of the very same length. It reads Linux's /proc.
"""

import argparse
import json
import string
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GOAL = 0.25
CASES: tuple[tuple[str, int, Mapping[str, Any]], ...] = (  # trainer, tokens of a row, options
    ("sft", 64, {"batch_size": 8}),
    ("sft", 256, {"batch_size": 4}),
    ("sft", 256, {"batch_size": 4, "gradient_checkpointing": True}),
    ("sft", 64, {"batch_size": 2, "quant": "4bit"}),
    ("sft", 64, {"batch_size": 2, "rank": 128}),
    ("sft", 256, {"batch_size": 2, "dropout": 0.1}),
    ("sft", 256, {"batch_size": 2, "adapter": "dora"}),
    ("reward", 128, {"batch_size": 2}),
    ("reward", 256, {"batch_size": 4}),
    ("reward", 256, {"batch_size": 4, "gradient_checkpointing": True}),
    ("dpo", 128, {"batch_size": 2}),
    ("dpo", 256, {"batch_size": 2}),
    ("dpo", 256, {"batch_size": 2, "gradient_checkpointing": True}),
    ("kto", 128, {"batch_size": 4}),
    ("kto", 256, {"batch_size": 4}),
    ("grpo", 64, {"batch_size": 8}),
    ("grpo", 64, {"batch_size": 16}),
    ("ppo", 64, {"batch_size": 8, "max_new_tokens": 32, "value": "adapter"}),
    ("ppo", 64, {"batch_size": 16, "max_new_tokens": 64, "value": "adapter"}),
    ("ppo", 64, {"batch_size": 16, "max_new_tokens": 64}),
)
STEPS = {"ppo": {"updates": 2, "ppo_epochs": 2, "reward": ("brevity",)}}
TWO_STEPS = {"max_steps": 2, "samples": 0, "max_eval_rows": 0, "kl_samples": 0}
ROW_FRAME, PROMPT_FRAME = 35, 31  # tokens of a row, and of a prompt, beside the words that fill it


def measure(trainer: str, row_tokens: int, options: Mapping[str, Any], base_dir: Path) -> tuple[int, int]:
    """(estimated, measured) peak in bytes; the work is done in this process, so call it once."""
    from medley.lm.base_facts import read_base_facts
    from medley.lm.load import choose_device
    from medley.options import describe, from_mapping
    from trainers import TRAINERS, TrainWork
    from trainers.estimate import estimate

    row = TRAINERS[trainer]
    known = {each.name for each in describe(row.options_class)}
    wanted = {**TWO_STEPS, "max_length": row_tokens, **STEPS.get(trainer, {}), **options}
    chosen = from_mapping(row.options_class, {name: value for name, value in wanted.items() if name in known})
    expected = estimate(
        read_base_facts(base_dir), chosen, trainer, [row_tokens] * 32, choose_device(chosen.quant), has_init=False
    ).total_bytes
    import_everything(row.module)
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), row.data_kinds[0], row_tokens)
        work = TrainWork(base_dir=base_dir, base_id="benchmark/base", data_dir=Path(folder), out_dir=Path(folder))
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
        before = resident("VmRSS")
        row.train(chosen, work)
        return expected, resident("VmHWM") - before


def import_everything(module: str) -> None:
    """What a trainer imports only on the way would else count as the training's memory."""
    import importlib

    from transformers import LlamaForCausalLM, LlamaForSequenceClassification  # noqa: F401

    importlib.import_module(module)


def resident(field: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (its highest since it was cleared) of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def write_rows(folder: Path, kind: str, row_tokens: int) -> None:
    """Rows, or prompts, of exactly `row_tokens` tokens; SmolLM2 has one for each " word"."""
    answers = [
        [{"role": "assistant", "content": f"{number}" + " word" * (row_tokens - ROW_FRAME)}] for number in range(2)
    ]
    question = [{"role": "user", "content": "Say it."}]
    rows: dict[str, dict[str, Any]] = {
        "sft": {"prompt": question, "completion": answers[0]},
        "preference": {"prompt": question, "chosen": answers[0], "rejected": answers[1]},
        "unpaired": {"prompt": question, "completion": answers[0]},
    }
    lines = []
    for number, letter in enumerate(string.ascii_letters[:32]):
        label = {"label": number % 2 == 0} if kind == "unpaired" else {}
        words = letter + " word" * (row_tokens - PROMPT_FRAME)  # the same prompt twice counts once
        row = {"prompt": [{"role": "user", "content": words}]} if kind == "prompts" else rows[kind]
        lines.append(json.dumps({**row, **label}))
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "eval.jsonl").write_text("", encoding="utf-8")


def in_fresh_process(trainer: str, row_tokens: int, options: Mapping[str, Any], base_dir: Path) -> tuple[int, int]:
    """`measure` in a process of its own."""
    case = json.dumps([trainer, row_tokens, dict(options), str(base_dir)])
    command = [sys.executable, "-m", "benchmarks.memory", "--case", case]
    last = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
    expected, measured = json.loads(last)
    return expected, measured


def print_case(case: str) -> None:
    """The child's part: measure one case and print it."""
    trainer, row_tokens, options, base_dir = json.loads(case)
    print(json.dumps(measure(trainer, row_tokens, options, Path(base_dir))))


def print_table(chosen: str | None, base_dir: Path) -> None:
    """Measure the cases and print them as Markdown."""
    from trainers import TRAINERS

    print("## Memory before the start\n")
    print(
        "Bundled base, CPU, two optimizer steps, LoRA of rank 16 on all linear layers unless the settings say more.\n"
    )
    print(
        "| trainer | tokens of a row | settings | estimated, MB | measured, MB | ratio |\n|---|---:|---|---:|---:|---:|"
    )
    for trainer, row_tokens, options in CASES:
        if trainer in TRAINERS and chosen in (None, trainer):
            expected, measured = in_fresh_process(trainer, row_tokens, options, base_dir)
            settings = ", ".join(f"{name}={value}" for name, value in options.items())
            numbers = f"{expected / 1e6:,.0f} | {measured / 1e6:,.0f} | {expected / measured:.2f}"
            print(f"| {trainer} | {row_tokens} | {settings} | {numbers} |", flush=True)
    print(f"\nGoal: within {GOAL:.0%} either way.\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", help="only this one")
    parser.add_argument("--base", type=Path, help="folder of the bundled base; unpacked for the run when not given")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print_case(arguments.case)
        return
    from medley.lm.bundled import prepare_bundled

    with tempfile.TemporaryDirectory() as folder:
        print_table(arguments.trainer, arguments.base or prepare_bundled(Path(folder) / "base"))


if __name__ == "__main__":
    main()

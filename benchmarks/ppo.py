"""PPO episodes a second and memory against the last TRL that had a PPO trainer, in processes of their own, in turns.

    python -m benchmarks.ppo [--updates 4] [--rounds 2] [--trl FOLDER]

Same base, LoRA rank 16 on all linear layers, batches of 8 answers of 32 tokens, 2 passes, no gradient checkpointing,
a reward model of the same base on both sides. TRL 1.12.0 is installed without its dependencies into a temporary folder,
or taken from `--trl`. Time is from the end of the first update to the end of the last; memory is the peak resident
size less the resident size after all imports. It reads Linux's /proc.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.memory import resident
from benchmarks.table import print_ratio_table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    from trainers.ppo_options import PPOOptions

ROOT = Path(__file__).resolve().parents[1]
TRL = "trl==1.12.0"
BATCH_SIZE, NEW_TOKENS, PASSES, RANK, LEARNING_RATE, TEMPERATURE = 8, 32, 2, 16, 1e-4, 0.7
SPEED_GOAL, MEMORY_GOAL = 2.0, 0.45
PEER = "TRL 1.12.0 PPOTrainer"


def prompts() -> list[list[dict[str, str]]]:
    lines = (ROOT / "examples" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return [[{"role": "user", "content": json.loads(line)["prompt"]}] for line in lines]


def ours(base_dir: Path, folder: Path, updates: int, value: str) -> tuple[list[float], int]:
    """(moments at which updates ended, bytes at their peak above the imports)."""
    import transformers.models.llama.modeling_llama  # noqa: F401

    import trainers.ppo
    from trainers import TrainWork

    data_dir, reward_dir = folder / "data", folder / "reward"
    data_dir.mkdir()
    (data_dir / "train.jsonl").write_text("".join(json.dumps({"prompt": each}) + "\n" for each in prompts()))
    write_reward_adapter(base_dir, reward_dir)
    moments: list[float] = []

    def emit(kind: str, **fields: Any) -> None:
        if kind == "progress" and fields["total"]:
            moments.append(time.perf_counter())

    work = TrainWork(
        base_dir=base_dir,
        base_id="benchmark/base",
        data_dir=data_dir,
        out_dir=folder / "out",
        adapters={"judge": reward_dir},
        emit=emit,
    )
    before = start_counting()
    trainers.ppo.train(our_options(updates, value), work)
    return moments, resident("VmHWM") - before


def our_options(updates: int, value: str) -> "PPOOptions":
    from trainers.ppo_options import PPOOptions

    return PPOOptions(
        reward=("judge",),
        updates=updates,
        batch_size=BATCH_SIZE,
        max_new_tokens=NEW_TOKENS,
        ppo_epochs=PASSES,
        rank=RANK,
        learning_rate=LEARNING_RATE,
        temperature=TEMPERATURE,
        value=value,
        samples=0,
        save_every=10_000,
    )


def write_reward_adapter(base_dir: Path, folder: Path) -> None:
    """A reward adapter of the same rank with random factors: how good it is does not matter here."""
    import torch
    from safetensors.torch import load_file, save_file

    from medley.lm.adapter_tensors import write_adapter
    from medley.lm.base_facts import read_base_facts

    facts = read_base_facts(base_dir)
    hidden, inner = facts.hidden, facts.intermediate
    attention, narrow = facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim
    shapes = {
        "self_attn.q_proj": (attention, hidden),
        "self_attn.k_proj": (narrow, hidden),
        "self_attn.v_proj": (narrow, hidden),
        "self_attn.o_proj": (hidden, attention),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    factors = {
        f"model.layers.{layer}.{name}": (torch.randn(rows, RANK) * 0.01, torch.randn(RANK, columns) * 0.01)
        for layer in range(facts.layers)
        for name, (rows, columns) in shapes.items()
    }
    write_adapter(folder, factors, base_model="benchmark/base", task_type="SEQ_CLS")
    path = folder / "adapter_model.safetensors"
    score = {"base_model.model.score.weight": torch.randn(1, hidden) * 0.1}
    save_file({**load_file(path), **score}, path, metadata={"format": "pt"})


def theirs(base_dir: Path, folder: Path, updates: int) -> tuple[list[float], int]:
    """The same of TRL's trainer, as its documentation would have you set it up."""
    import trl
    from transformers import AutoTokenizer, TrainerCallback

    assert f"trl=={trl.__version__}" == TRL, trl.__version__
    moments: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            moments.append(time.perf_counter())

    tokenizer = AutoTokenizer.from_pretrained(base_dir, padding_side="left")
    tokenizer.pad_token = "<|endoftext|>"  # its own is the end of a turn, which TRL would mask in the prompts
    rows = [
        {"input_ids": tokenizer.apply_chat_template(each, add_generation_prompt=True, return_dict=False)}
        for each in prompts()
    ]
    trainer, before = their_trainer(base_dir, their_config(folder, updates), tokenizer, rows)
    trainer.add_callback(Clock())
    trainer.train()
    return moments, resident("VmHWM") - before


def their_config(folder: Path, updates: int) -> "PPOConfig":
    from trl.experimental.ppo import PPOConfig

    return PPOConfig(
        output_dir=str(folder),
        total_episodes=updates * BATCH_SIZE,
        per_device_train_batch_size=BATCH_SIZE,
        response_length=NEW_TOKENS,
        num_ppo_epochs=PASSES,
        learning_rate=LEARNING_RATE,
        temperature=TEMPERATURE,
        gradient_checkpointing=False,
        num_sample_generations=0,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )


def their_trainer(
    base_dir: Path, config: "PPOConfig", tokenizer: "PreTrainedTokenizerBase", rows: list[dict[str, Any]]
) -> "tuple[PPOTrainer, int]":
    """(the trainer with its three models, bytes that were resident before them); it is its own reference."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PrinterCallback
    from trl.experimental.ppo import PPOTrainer

    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    before = start_counting()
    judges = [
        AutoModelForSequenceClassification.from_pretrained(base_dir, num_labels=1, dtype=torch.bfloat16)
        for _ in range(2)
    ]
    trainer = PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.bfloat16),
        ref_model=None,
        reward_model=judges[0],
        value_model=judges[1],
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:1]),
        peft_config=lora,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, before


def start_counting() -> int:
    """Bytes that are resident now; the peak counts from here."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return resident("VmRSS")


CONTENDERS: dict[str, Callable[[Path, Path, int], tuple[list[float], int]]] = {
    PEER: theirs,
    "medley train ppo": lambda base, folder, updates: ours(base, folder, updates, "head"),
    "medley train ppo, value adapter": lambda base, folder, updates: ours(base, folder, updates, "adapter"),
}


def measure(name: str, base_dir: Path, updates: int) -> tuple[float, int]:
    """(episodes a second, bytes) of one contender in this process."""
    with tempfile.TemporaryDirectory() as folder:
        moments, peak_bytes = CONTENDERS[name](base_dir, Path(folder), updates)
    return BATCH_SIZE * (len(moments) - 1) / (moments[-1] - moments[0]), peak_bytes


def in_fresh_process(name: str, base_dir: Path, updates: int, trl_dir: Path) -> tuple[float, int]:
    """`measure` in a process of its own, TRL's with its folder first."""
    paths = [str(trl_dir), str(ROOT)] if name == PEER else [str(ROOT)]
    command = [sys.executable, "-m", "benchmarks.ppo", "--updates", str(updates), "--base", str(base_dir)]
    run = subprocess.run(
        [*command, "--contender", name],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    speed, peak_bytes = json.loads(run.stdout.strip().splitlines()[-1])
    return speed, peak_bytes


def print_tables(base_dir: Path, updates: int, rounds: int, trl_dir: Path) -> None:
    """Measure all in turns and print medians."""
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            found[name].append(in_fresh_process(name, base_dir, updates, trl_dir))
    setting = (
        f"Bundled base in bf16 on a CPU, LoRA rank {RANK} on all linear layers, batches of {BATCH_SIZE} answers of "
        f"{NEW_TOKENS} tokens, {PASSES} passes, a reward model of the same base; median of {rounds} runs of {updates} "
        "updates each."
    )
    speeds = {name: statistics.median(speed for speed, _ in runs) for name, runs in found.items()}
    peaks = {name: statistics.median(peak / 1e9 for _, peak in runs) for name, runs in found.items()}
    print_ratio_table(
        "PPO, speed", setting, unit="episodes/s", values=speeds, peer=PEER, goal=f"at least {SPEED_GOAL:g}x"
    )
    print_ratio_table("PPO, memory", "In the same runs.", unit="GB", values=peaks, peer=PEER,
                      goal=f"at most {MEMORY_GOAL:g}x")  # fmt: skip


def main() -> None:
    from medley.lm.bundled import prepare_bundled

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=4, help="updates in one measurement")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each")
    parser.add_argument("--trl", type=Path, help="a folder that holds TRL 1.12.0 already")
    parser.add_argument("--base", type=Path, help="the bundled base, prepared already")
    parser.add_argument("--contender", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        print(json.dumps(measure(arguments.contender, arguments.base, arguments.updates)))
        return
    with tempfile.TemporaryDirectory() as folder:
        base_dir = arguments.base or prepare_bundled(Path(folder) / "base")
        trl_dir = arguments.trl or Path(folder) / "trl"
        if arguments.trl is None:
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(trl_dir), TRL]
            subprocess.run(command, check=True)
        print_tables(base_dir, arguments.updates, arguments.rounds, trl_dir)


if __name__ == "__main__":
    main()

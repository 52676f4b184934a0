"""Does a reward model, or DPO, learn more from human preferences than which answer is longer? On held-out pairs.

    python -m benchmarks.preferences [--datasets hh-rlhf,oasst] [--models reward,dpo] [--train-rows 400] [--steps 50]
        [--eval-rows 200] [--max-length 256] [--data-dir ../shared/data]

Both are trained on the bundled base and judged on prompts that they have not seen: a reward model by its score, a DPO
adapter by its implicit reward, beta (log p - log p of the reference). The peer is the better of the rules "longer wins"
and "shorter wins", picked on the very pairs it is measured on; the difference is paired, with its 95 % interval. Long:
not part of `make bench`. A row can be measured alone, so that the table may be made in pieces.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SOURCES = {  # name -> file below the data folder, format
    "hh-rlhf": ("hh-rlhf/pairs-1700.jsonl.gz", "transcripts"),
    "oasst": ("oasst1-en100/trees-70.jsonl", "oasst-preference"),
}
EVAL_SHARE = 0.2  # of the prompts
BATCH_SIZE, RANK, REWARD_RATE, DPO_RATE, BETA = 8, 16, 1e-4, 5e-5, 0.1


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Attributes:
        train_rows, eval_rows: pairs at most; those that are longer than `max_length` on a side do not count.
        steps: optimizer steps of 8 pairs; the rows are passed over again where they do not suffice.
        max_length: tokens of a prompt with an answer.
        seed: of training.
    """

    train_rows: int
    eval_rows: int
    steps: int
    max_length: int
    seed: int


def prepare(name: str, data_dir: Path, base_dir: Path, plan: Plan, folder: Path) -> tuple[int, int]:
    """Write the pairs that fit as a dataset folder, split by prompt; (pairs to train on, pairs to measure on)."""
    from medley.corpus import import_dataset, read_rows
    from medley.corpus.folder import write_lines
    from medley.lm.load import load_tokenizer
    from trainers.reward_rows import token_pairs

    file, format_name = SOURCES[name]
    import_dataset(data_dir / file, folder / "all", format=format_name, eval_share=EVAL_SHARE)
    tokenizer = load_tokenizer(base_dir)
    (folder / "pairs").mkdir()
    counts = []
    for split, most in (("train", plan.train_rows), ("eval", plan.eval_rows)):
        rows = read_rows(folder / "all", split)
        pairs = token_pairs(rows, tokenizer)
        fitting = [row for row, each in zip(rows, pairs, strict=True) if each.longest <= plan.max_length]
        counts.append(write_lines(folder / "pairs" / f"{split}.jsonl", fitting[:most]))
    return counts[0], counts[1]


def train(trainer: str, base_dir: Path, folder: Path, plan: Plan) -> tuple[Path, float]:
    """The trained adapter's folder and the seconds that it took."""
    from trainers import TRAINERS, DPOOptions, RewardOptions, TrainWork

    shared = {
        "epochs": 1000.0,
        "max_steps": plan.steps,
        "batch_size": BATCH_SIZE,
        "rank": RANK,
        "max_length": plan.max_length,
        "max_eval_rows": 0,
        "save_every": 10_000,
        "seed": plan.seed,
    }
    options = {
        "reward": lambda: RewardOptions(**shared, learning_rate=REWARD_RATE),
        "dpo": lambda: DPOOptions(**shared, learning_rate=DPO_RATE, beta=BETA, samples=0, kl_samples=0),
    }[trainer]()

    def emit(kind: str, **fields: Any) -> None:
        if kind == "metric":
            print(f"{trainer} step {fields['step']}: loss {fields.get('loss', 0):.4f}", file=sys.stderr, flush=True)

    work = TrainWork(
        base_dir=base_dir, base_id="benchmark/base", data_dir=folder / "pairs", out_dir=folder / trainer, emit=emit
    )
    start = time.perf_counter()
    result = TRAINERS[trainer].train(options, work)
    assert result.adapter_dir is not None
    return result.adapter_dir, time.perf_counter() - start


def reward_scores(base_dir: Path, adapter_dir: Path, rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """The reward model's score of the chosen and of the rejected answer of each row."""
    from medley.lm.score_model import ScoreModel
    from trainers.reward_rows import token_pairs

    model = ScoreModel.open(base_dir, adapter_dir)
    texts = [ids for pair in token_pairs(rows, model.base.tokenizer) for ids in (pair.chosen_ids, pair.rejected_ids)]
    scores = model.score(texts)
    return list(zip(scores[::2], scores[1::2], strict=True))


def implicit_rewards(base_dir: Path, adapter_dir: Path, rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """beta (log p - log p_ref) of both answers of each row (2305.18290, section 5); the reference is the base."""
    import torch
    from peft import PeftModel

    from medley.lm.load import load_base
    from trainers.pairs import encode_pairs

    base = load_base(base_dir)
    model = PeftModel.from_pretrained(base.model, str(adapter_dir)).eval()
    longest = sys.maxsize  # the rows fit already

    @torch.no_grad()
    def logp(prompt_ids: list[int], answer_ids: list[int]) -> float:
        ids = torch.tensor([prompt_ids + answer_ids], device=model.device)
        logps_TV = model(input_ids=ids).logits[0, -len(answer_ids) - 1 : -1].float().log_softmax(-1)
        return float(logps_TV.gather(1, ids[0, -len(answer_ids) :, None]).sum())

    def reward(prompt_ids: list[int], answer_ids: list[int]) -> float:
        policy = logp(prompt_ids, answer_ids)
        with model.disable_adapter():
            return BETA * (policy - logp(prompt_ids, answer_ids))

    pairs, _ = encode_pairs(rows, base.tokenizer, max_length=longest)
    return [(reward(each.prompt_ids, each.chosen_ids), reward(each.prompt_ids, each.rejected_ids)) for each in pairs]


JUDGES: dict[str, Callable[[Path, Path, Sequence[dict[str, Any]]], list[tuple[float, float]]]] = {
    "reward": reward_scores,
    "dpo": implicit_rewards,
}


def measure(name: str, trainer: str, base_dir: Path, data_dir: Path, plan: Plan) -> str:
    """One row of the table."""
    from medley.corpus import read_rows
    from trainers.preference_report import ScoredPair, report_pairs
    from trainers.reward_rows import answer_length

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trained, _ = prepare(name, data_dir, base_dir, plan, folder)
        adapter_dir, seconds = train(trainer, base_dir, folder, plan)
        rows = read_rows(folder / "pairs", "eval")
        scores = JUDGES[trainer](base_dir, adapter_dir, rows)
    report = report_pairs(
        [
            ScoredPair(*both, answer_length(row["chosen"]), answer_length(row["rejected"]))
            for row, both in zip(rows, scores, strict=True)
        ]
    )
    low, high = report.accuracy_interval
    gain_low, gain_high = report.gain_interval
    cells = (
        *(name, trainer, f"{trained}", f"{plan.steps}", f"{seconds:.0f}", f"{report.pairs}"),
        f"{report.accuracy:.1%} ({low:.1%} to {high:.1%})",
        f"{report.baseline} {report.baseline_accuracy:.1%}",
        f"{100 * report.gain:+.1f} ({100 * gain_low:+.1f} to {100 * gain_high:+.1f})",
        "yes" if report.beats_baseline else "no",
    )
    return f"| {' | '.join(cells)} |"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default=",".join(SOURCES), help="which, separated by commas")
    parser.add_argument("--models", default=",".join(JUDGES), help="which, separated by commas")
    parser.add_argument("--train-rows", type=int, default=400, help="pairs to train on, at most")
    parser.add_argument("--steps", type=int, default=50, help="optimizer steps of 8 pairs")
    parser.add_argument("--eval-rows", type=int, default=200, help="held-out pairs, at most")
    parser.add_argument("--max-length", type=int, default=256, help="tokens; longer pairs are left out")
    parser.add_argument("--seed", type=int, default=42, help="seed of training")
    parser.add_argument("--base-dir", type=Path, help="a base's folder; the bundled one when not given")
    parser.add_argument("--data-dir", type=Path, default=SHARED_DATA, help="the folder of the data sets")
    return parser.parse_args()


def main() -> None:
    from medley.lm.bundled import prepare_bundled

    arguments = parse()
    plan = Plan(arguments.train_rows, arguments.eval_rows, arguments.steps, arguments.max_length, arguments.seed)
    print(
        "## Preferences\n\n"
        f"Bundled base, LoRA rank {RANK} on all linear layers, batches of {BATCH_SIZE} pairs of at most "
        f"{plan.max_length} tokens, seed {plan.seed}; reward models at {REWARD_RATE:g}, DPO at {DPO_RATE:g} with beta "
        f"{BETA}. Held-out pairs have other prompts than those trained on.\n\n"
        "| data | model | pairs | steps | s | held out | accuracy (95 %) | best length rule "
        "| difference, points (95 %) | beats it |\n|---|---|---:|---:|---:|---:|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        base_dir = arguments.base_dir or prepare_bundled(Path(folder) / "base")
        for name in arguments.datasets.split(","):
            for trainer in arguments.models.split(","):
                print(measure(name, trainer, base_dir, arguments.data_dir, plan), flush=True)


if __name__ == "__main__":
    main()

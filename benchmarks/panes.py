"""Time of four panes in one batch, against the base alone and against one pane after another.

    python benchmarks/panes.py [--new-tokens 64] [--repeats 5] [--json FILE]

Four rank-16 adapters on all linear layers of the bundled base, one a pane, the same prompt. The peers are transformers'
own `generate` on the bare base at batch 4, and on a peft model one adapter after another. All ways write the same
number of tokens; repeats are interleaved, so that a busy machine slows all of them; medians are compared.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from medley.lm.adapter_tensors import write_adapter
from medley.lm.bundled import DEFAULT_HUB_ID, prepare_bundled
from medley.lm.engine import Engine, Pane, Sampling
from medley.lm.fit import linear_size
from medley.lm.load import LoadedBase, load_base
from medley.lm.prompts import prompt_ids
from medley.lm.quiet import quiet_libraries

PANES, RANK = 4, 16
PROMPT = ({"role": "user", "content": "Tell me a short story about a pirate who learns to bake bread."},)
GOAL_BASE, GOAL_SEQUENTIAL = 1.3, 2.5


def write_random_adapter(base: LoadedBase, folder: Path, seed: int) -> Path:
    """A rank-16 adapter on all linear layers but the head, small enough that the answers stay sensible."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for name, module in base.model.named_modules():
        size = linear_size(module)
        if size and not name.endswith("lm_head"):
            inputs, outputs = size
            b = torch.randn(outputs, RANK, generator=generator) * 0.01
            factors[name] = (b, torch.randn(RANK, inputs, generator=generator) * 0.01)
    write_adapter(folder, factors, base_model=DEFAULT_HUB_ID, dtype=torch.bfloat16)
    return folder


def transformers_way(model: torch.nn.Module, ids: torch.Tensor, new_tokens: int) -> Callable[[], None]:
    """Greedy generate of exactly `new_tokens`."""

    @torch.inference_mode()
    def run() -> None:
        mask = torch.ones_like(ids)
        model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=new_tokens, min_new_tokens=new_tokens
        )

    return run


def ways(base: LoadedBase, adapters: list[Path], new_tokens: int) -> dict[str, Callable[[], None]]:
    """Every way to be timed, by its label in the table."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    engine = Engine(base)
    engine.end_ids = frozenset()  # every way writes the same number of tokens
    for index, folder in enumerate(adapters):
        engine.add(str(index), folder)
    sampling = Sampling(max_new_tokens=new_tokens)
    blended = [Pane(PROMPT, {str(index): 1.0}) for index in range(PANES)]
    ids = torch.tensor([prompt_ids(base.tokenizer, PROMPT)])
    other = AutoModelForCausalLM.from_pretrained(base.folder, dtype=base.model.dtype).eval()
    with_peft = PeftModel.from_pretrained(other, adapters[0], adapter_name="0")
    for index in range(1, PANES):
        with_peft.load_adapter(adapters[index], adapter_name=str(index))
    one_row = transformers_way(with_peft, ids, new_tokens)

    def peft_in_turn() -> None:
        for index in range(PANES):
            with_peft.set_adapter(str(index))
            one_row()

    def engine_in_turn() -> None:
        for pane in blended:
            engine.generate([pane], sampling)

    return {
        "Medley, 4 panes, 4 adapters": lambda: engine.generate(blended, sampling),
        "base, batch 4, transformers": transformers_way(base.model, ids.repeat(PANES, 1), new_tokens),
        "base, batch 4, Medley": lambda: engine.generate([Pane(PROMPT)] * PANES, sampling),
        "4 adapters in turn, peft": peft_in_turn,
        "4 adapters in turn, Medley": engine_in_turn,
    }


def measure(runs: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each way; one warm-up round is not counted."""
    seconds: dict[str, list[float]] = {label: [] for label in runs}
    for repeat in track(range(repeats + 1), "Measuring", console=Console(stderr=True)):
        for label, run in runs.items():
            started = time.perf_counter()
            run()
            if repeat:
                seconds[label].append(time.perf_counter() - started)
    return {label: statistics.median(values) for label, values in seconds.items()}


def table(medians: dict[str, float], new_tokens: int) -> str:
    """A markdown table; the ratio is a way's time over that of Medley's four panes."""
    ours = next(iter(medians.values()))
    lines = ["| way | seconds | tokens/s | time / ours |", "|---|---|---|---|"]
    for label, seconds in medians.items():
        lines.append(f"| {label} | {seconds:.2f} | {PANES * new_tokens / seconds:.0f} | {seconds / ours:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens that every pane writes")
    parser.add_argument("--repeats", type=int, default=5, help="counted rounds")
    parser.add_argument("--threads", type=int, default=None, help="torch threads; all cores by default")
    parser.add_argument("--base", type=Path, default=None, help="folder of the unpacked base")
    parser.add_argument("--json", type=Path, default=None, help="write the numbers here too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        base = load_base(prepare_bundled(options.base or Path(temporary) / "base"))
        adapters = [write_random_adapter(base, Path(temporary) / str(seed), seed) for seed in range(PANES)]
        with quiet_libraries():
            medians = measure(ways(base, adapters, options.new_tokens), options.repeats)
    ours, alone, alone_ours, in_turn, _ = medians.values()
    print("## Panes\n")
    print(
        f"Bundled base, {base.device.name}, {base.device.dtype}, {torch.get_num_threads()} threads, adapters of rank "
        f"16 on all linear layers, {options.new_tokens} new tokens, median of {options.repeats} rounds.\n"
    )
    print(table(medians, options.new_tokens))
    print(f"\nFour panes over the base alone in transformers: {ours / alone:.2f} (goal: at most {GOAL_BASE});")
    print(f"over the base alone in our own loop, which is the faster one: {ours / alone_ours:.2f}.")
    print(f"One pane after another in peft over four panes: {in_turn / ours:.2f} (goal: at least {GOAL_SEQUENTIAL}).")
    if options.json:
        result = {"seconds": medians, "panes_over_base": ours / alone, "in_turn_over_panes": in_turn / ours}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

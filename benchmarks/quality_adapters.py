"""The five adapters that `benchmarks.merge_quality` merges: a LoRA for each task, trained by Medley's own SFT."""

from pathlib import Path

from benchmarks.quality_tasks import TASKS, training_file

BASE_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
BATCH_SIZE, RANK = 8, 16
STEPS = {"arc_easy": 120, "piqa": 120, "copa": 28, "pirate": 32, "tidy-list": 24}
RATES = {"arc_easy": 3e-4, "piqa": 3e-4, "copa": 3e-4, "pirate": 1e-3, "tidy-list": 1e-3}


def trained(task: str, base_dir: Path, data_dir: Path, work_dir: Path, seed: int) -> Path:
    """The adapter's folder; one that an earlier run left in the work folder is used again."""
    from medley.corpus import import_dataset
    from medley.options import from_mapping
    from trainers import TRAINERS, TrainWork

    out_dir = work_dir / "adapters" / task
    if (out_dir / "adapter" / "adapter_config.json").is_file():
        return out_dir / "adapter"
    rows_dir = work_dir / "data" / task
    if not rows_dir.exists():
        rows_dir.parent.mkdir(parents=True, exist_ok=True)
        import_dataset(training_file(task, data_dir, rows_dir.parent), rows_dir, eval_share=0.0)
    options = {
        "epochs": 100.0,
        "max_steps": STEPS[task],
        "learning_rate": RATES[task],
        "batch_size": BATCH_SIZE,
        "rank": RANK,
        "max_length": 256,
        "max_eval_rows": 0,
        "samples": 0,
        "save_every": 10_000,
        "seed": seed,
    }
    row = TRAINERS["sft"]
    work = TrainWork(base_dir=base_dir, base_id=BASE_ID, data_dir=rows_dir, out_dir=out_dir)
    result = row.train(from_mapping(row.options_class, options), work)
    assert result.adapter_dir is not None, "the run was not stopped"
    return result.adapter_dir


def all_trained(base_dir: Path, data_dir: Path, work_dir: Path, seed: int) -> dict[str, Path]:
    """Task to adapter folder."""
    return {task: trained(task, base_dir, data_dir, work_dir, seed) for task in TASKS}

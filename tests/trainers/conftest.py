"""A dataset folder and a way to train on it, small enough for seconds on one core."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny_model import TINY_BASE_ID
from trainers import SFTOptions, TrainResult, TrainWork

QUESTIONS = ("north", "south", "east", "west", "up", "down", "left", "right", "in", "out")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Eight rows to learn and two to measure on, as `medley.corpus` writes them."""
    return write_dataset(tmp_path / "dataset")


def write_dataset(folder: Path) -> Path:
    folder.mkdir()
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Which way is {word}?"}],
            "completion": [{"role": "assistant", "content": f"Ahoy, {word} it is!"}],
        }
        for word in QUESTIONS
    ]
    for split, part in {"train": rows[:8], "eval": rows[8:]}.items():
        lines = [json.dumps(row) for row in part]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def run_sft(tiny_base: Path, dataset: Path, tmp_path: Path) -> Callable[..., TrainResult]:
    """run_sft(name, options, **work) trains on the tiny base into its own folder."""
    from trainers import TRAINERS

    def run(name: str, options: SFTOptions, **work: object) -> TrainResult:
        places = {"base_dir": tiny_base, "base_id": TINY_BASE_ID, "data_dir": dataset, "out_dir": tmp_path / name}
        return TRAINERS["sft"].train(options, TrainWork(**{**places, **work}))

    return run


@pytest.fixture
def run_ppo(tiny_base: Path, dataset: Path, tmp_path: Path) -> Callable[..., TrainResult]:
    """run_ppo(name, options, **work) trains on the tiny base into its own folder; `options` are those to change."""
    from trainers import TRAINERS
    from trainers.ppo_options import PPOOptions

    small = {"updates": 3, "batch_size": 4, "max_new_tokens": 6, "rank": 4, "ppo_epochs": 2, "temperature": 1.0}
    small |= {"learning_rate": 1e-2, "reward": ("matches:e",), "device": "cpu"}

    def run(name: str, options: dict[str, object], **work: object) -> TrainResult:
        places = {"base_dir": tiny_base, "base_id": TINY_BASE_ID, "data_dir": dataset, "out_dir": tmp_path / name}
        return TRAINERS["ppo"].train(PPOOptions(**{**small, **options}), TrainWork(**{**places, **work}))

    return run

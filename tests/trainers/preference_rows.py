"""Small datasets to learn preferences from, and a way to train on them, for the tests of several trainers."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medley.lm.adapter_file import file_sha256
from tests.tiny_model import TINY_BASE_ID
from trainers import TRAINERS, TrainResult, TrainWork

WORDS = ("north", "south", "east", "west", "up", "down", "left", "right", "in", "out")
FAST = {"batch_size": 4, "rank": 4, "samples": 0, "device": "cpu", "kl_samples": 0}


def pair(word: str) -> dict[str, Any]:
    """A preference row whose answers differ in words and in length."""
    return {
        "prompt": [{"role": "user", "content": f"Which way is {word}?"}],
        "chosen": [{"role": "assistant", "content": f"Ahoy, {word} it is!"}],
        "rejected": [{"role": "assistant", "content": "The quick brown fox jumps over the lazy dog."}],
    }


def unpaired(word: str, *, is_good: bool) -> dict[str, Any]:
    """One answer of `pair`, with its label."""
    row = pair(word)
    return {"prompt": row["prompt"], "completion": row["chosen" if is_good else "rejected"], "label": is_good}


def write_dataset(folder: Path, train: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]]) -> Path:
    """A dataset folder as `medley.corpus` writes it."""
    folder.mkdir()
    for split, rows in (("train", train), ("eval", measured)):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def runner(trainer: str, base: Path, data: Path, out: Path) -> Callable[..., TrainResult]:
    """run(name, options, **work) trains on the base into its own folder."""

    def run(name: str, options: Any, **work: object) -> TrainResult:
        places = {"base_dir": base, "base_id": TINY_BASE_ID, "data_dir": data, "out_dir": out / name}
        return TRAINERS[trainer].train(options, TrainWork(**{**places, **work}))

    return run


def collect(events: list[dict[str, Any]]) -> Callable[..., None]:
    """An `emit` that keeps what it is told."""
    return lambda kind, **fields: events.append({"kind": kind, **fields})


def values(events: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """A metric over time."""
    return [event[name] for event in events if event["kind"] == "metric" and name in event]


def adapter_digest(result: TrainResult) -> str:
    assert result.adapter_dir is not None
    return file_sha256(result.adapter_dir / "adapter_model.safetensors")

"""Two processes that train together on a CPU (gloo) do what one does with twice the batch, and end together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from hub import Registry
from medley.errors import AdapterFormatError, JobError, ParameterError, ProblemsError
from medley.jobs import Jobs, JobSpec
from medley.jobs.process import identify
from medley.jobs.rank import take_device
from medley.jobs.ranks import ERROR, RESULT, SPEC, _outcome, _plain, result_text, train_together
from medley.options import describe, from_mapping
from tests.jobs.conftest import LONG_S, wait_for_event
from trainers import TRAINERS, SFTOptions, TrainResult, TrainWork

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    "max_steps": 4, "eval_every": 2, "save_every": 2, "learning_rate": 1e-2, "rank": 4, "device": "cpu", "samples": 0,
    "kl_samples": 0,
}  # fmt: skip


def last_step(jobs: Jobs, job_id: str) -> int:
    return max(event["step"] for event in jobs.events(job_id)[0] if event["kind"] == "metric" and "loss" in event)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A dataset folder whose rows serve SFT and preference trainers alike."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is {n}?"}],
            "completion": [{"role": "assistant", "content": f"It is {n}."}],
            "chosen": [{"role": "assistant", "content": f"It is {n}, sir."}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for n in range(20)
    ]
    for split, part in (("train", rows[:16]), ("eval", rows[16:])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    return folder


@pytest.mark.processes
@pytest.mark.parametrize("trainer", ["sft", "reward", "dpo"])
def test_two_processes_do_what_one_does_with_twice_the_batch(
    trainer: str, pairs: Path, tiny_base: Path, tmp_path: Path
) -> None:
    row, told = TRAINERS[trainer], {"one": [], "two": []}
    assert row.can_split
    known = {each.name for each in describe(row.options_class)}
    options = {name: value for name, value in OPTIONS.items() if name in known}

    def work(name: str) -> TrainWork:
        def emit(kind: str, **fields: Any) -> None:
            told[name].append((kind, fields))

        return TrainWork(tiny_base, "org/base", pairs, tmp_path / name, emit=emit)

    two = train_together(trainer, {**options, "batch_size": 2, "num_processes": 2}, work("two"), 2)
    one = row.train(from_mapping(row.options_class, {**options, "batch_size": 4}), work("one"))
    for metric in ("loss", "eval_loss", "grad_norm"):  # AdamW would not show gradients that are summed, not averaged
        curves = {name: curve(events, metric) for name, events in told.items()}
        assert curves["two"] == pytest.approx(curves["one"], rel=0.01)  # bf16 sums in another order
    assert list(curve(told["two"], "loss")) == [1, 2, 3, 4]  # each step is told once, by the first process
    kinds = [kind for kind, _ in told["two"]]
    assert (kinds.count("checkpoint"), kinds.count("artifact")) == (2, 1)
    assert (two.steps, two.adapter_dir, two.was_stopped) == (4, tmp_path / "two" / "adapter", False)
    assert two.metrics["train_loss"] == pytest.approx(one.metrics["train_loss"], rel=0.01)
    ours, theirs = (load_file(found.adapter_dir / "adapter_model.safetensors") for found in (two, one))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert float((ours[name] - tensor).norm() / tensor.norm()) < 0.02, name


@pytest.mark.processes
def test_accelerate_launch_starts_the_same_spec(pairs: Path, tiny_base: Path, tmp_path: Path) -> None:
    """--multi_gpu is how accelerate starts several processes without MPI; with device=cpu they use no GPU."""
    folder = tmp_path / "ranks"
    folder.mkdir()
    options = {name: value for name, value in OPTIONS.items() if name != "kl_samples"}
    options |= {"batch_size": 2, "num_processes": 2}
    work = TrainWork(tiny_base, "org/base", pairs, tmp_path / "out")
    (folder / SPEC).write_text(json.dumps(_plain("sft", options, work)), encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    fixed = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    run = subprocess.run(
        [*launch, *fixed, "-m", "medley.jobs.rank", str(folder / SPEC)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    result = _outcome(folder)
    assert (result.steps, result.adapter_dir) == (4, tmp_path / "out" / "adapter")


def curve(events: list[tuple[str, dict[str, Any]]], metric: str) -> dict[int, float]:
    return {fields["step"]: fields[metric] for kind, fields in events if kind == "metric" and metric in fields}


@pytest.mark.processes
def test_stopped_together_resumed_together_killed_together(jobs: Jobs, a_training: Callable[..., JobSpec]) -> None:
    spec = a_training("two", batch_size=2, num_processes=2, max_steps=100_000, save_every=100_000)
    job = jobs.submit(spec)
    wait_for_event(jobs, job.id, "metric")
    jobs.stop(job.id)
    stopped = jobs.wait(job.id, LONG_S)
    assert stopped.state == "stopped", jobs.log_tail(job.id)
    last = last_step(jobs, job.id)
    checkpoint = stopped.out_dir / "checkpoints" / f"checkpoint-{last}"
    assert (checkpoint / "whole").is_file()
    assert {path.name for path in checkpoint.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}

    again = jobs.retry(job.id)
    first = wait_for_event(jobs, again.id, "metric")
    assert first["step"] == last + 1
    worker = jobs.get(again.id).process
    ranks = children_of(worker.pid)
    assert len(ranks) == 2
    os.kill(worker.pid, signal.SIGKILL)  # the worker alone: nobody tells the ranks
    deadline = time.monotonic() + LONG_S
    while any(identify(pid) for pid in ranks) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(identify(pid) for pid in ranks)


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_a_trainer_that_cannot_be_split_says_so(registry: Registry, base: Any, sums: Any) -> None:
    from medley.jobs import train_spec

    with pytest.raises(ProblemsError) as caught:
        train_spec(registry, "ppo", base="tiny", data="sums", name="p", options={"num_processes": 2})
    assert str(caught.value) == "ppo trains in one process only, got num_processes=2. Leave it at 1."


def test_a_script_must_start_the_processes_itself(tiny_base: Path, tmp_path: Path) -> None:
    work = TrainWork(base_dir=tiny_base, base_id="org/x", data_dir=tmp_path, out_dir=tmp_path)
    with pytest.raises(ParameterError, match=r"^num_processes is 2, but the training was started with 1\."):
        TRAINERS["sft"].train(SFTOptions(num_processes=2), work)


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is needed to see which one is asked for."""
    import torch

    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    take_device("auto", 1, 2)
    take_device("cpu", 1, 2)
    assert taken == [1]
    with pytest.raises(ParameterError, match=r"^num_processes is 3, but this machine has 2 GPUs\. Lower it\.$"):
        take_device("cuda", 2, 3)


def test_what_the_first_process_tells(tmp_path: Path) -> None:
    result = TrainResult(tmp_path / "adapter", None, 3, False, "bf16", "ab", {"train_loss": 1.5})
    (tmp_path / RESULT).write_text(result_text(result))
    assert _outcome(tmp_path) == result
    (tmp_path / ERROR).write_text(json.dumps({"kind": "AdapterFormatError", "text": "It is broken."}))
    with pytest.raises(AdapterFormatError, match=r"^It is broken\.$"):
        _outcome(tmp_path)


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"ended without a result\. The log has its last words\.$"):
        _outcome(tmp_path)

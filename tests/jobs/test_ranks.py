"""Two processes that train together on a CPU (gloo) do what one does with twice the batch, and end together."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub import Registry
from medley.errors import AdapterFormatError, JobError, ParameterError, ProblemsError
from medley.jobs import Jobs, JobSpec
from medley.jobs.process import identify
from medley.jobs.ranks import ERROR, RESULT, _outcome, result_text
from tests.jobs.conftest import done, wait_for_event
from trainers import TRAINERS, SFTOptions, TrainResult, TrainWork

OPTIONS = {"max_steps": 6, "max_eval_rows": 4, "eval_every": 3, "save_every": 3, "learning_rate": 1e-2}


def losses(jobs: Jobs, job_id: str, name: str = "loss") -> dict[int, float]:
    events = jobs.events(job_id)[0]
    return {event["step"]: event[name] for event in events if event["kind"] == "metric" and name in event}


@pytest.mark.processes
def test_two_processes_do_what_one_does_with_twice_the_batch(
    jobs: Jobs, registry: Registry, a_training: Callable[..., JobSpec]
) -> None:
    two = done(jobs, jobs.submit(a_training("two", batch_size=2, num_processes=2, **OPTIONS)).id)
    one = done(jobs, jobs.submit(a_training("one", batch_size=4, **OPTIONS)).id)
    assert list(losses(jobs, two.id)) == [1, 2, 3, 4, 5, 6]  # each step is told once, by the first process
    assert list(losses(jobs, two.id).values()) == pytest.approx(list(losses(jobs, one.id).values()), rel=0.02)
    assert losses(jobs, two.id, "eval_loss") == pytest.approx(losses(jobs, one.id, "eval_loss"), rel=0.02)
    kinds = [event["kind"] for event in jobs.events(two.id)[0]]
    assert kinds.count("checkpoint") == 2
    assert [version.number for version in registry.versions("two")] == [1]
    assert registry.get("two").metadata["steps"] == 6


@pytest.mark.processes
def test_stopped_together_resumed_together_killed_together(jobs: Jobs, a_training: Callable[..., JobSpec]) -> None:
    spec = a_training("two", batch_size=2, num_processes=2, max_steps=100_000, save_every=100_000)
    job = jobs.submit(spec)
    wait_for_event(jobs, job.id, "metric")
    jobs.stop(job.id)
    stopped = jobs.wait(job.id, 90)
    assert stopped.state == "stopped", jobs.log_tail(job.id)
    last = max(losses(jobs, job.id))
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
    deadline = time.monotonic() + 30
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

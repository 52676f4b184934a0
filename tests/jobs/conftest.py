"""A home whose path has a space in it, with a registered tiny base, a small dataset, and jobs that are really run."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub import Registry, Version, open_registry
from medley.jobs import Jobs, JobSpec, add_base, import_spec, merge_spec, open_jobs, train_spec
from medley.jobs.job import Job
from medley.jobs.process import ProcessName, is_alive, signal_group
from tests.hub_server import HubServer
from tests.tiny_model import TINY_BASE_ID

LONG_S = 240  # to wait for what must come: a busy machine is slow, not wrong
TRAINING = {"rank": 2, "max_length": 64, "max_eval_rows": 0, "samples": 0, "device": "cpu", "learning_rate": 1e-3}


@pytest.fixture(autouse=True)
def medley_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "a home"
    monkeypatch.setenv("MEDLEY_HOME", str(home))
    monkeypatch.delenv("SPACE_ID", raising=False)
    return home


@pytest.fixture
def registry(medley_home: Path) -> Registry:
    return open_registry(medley_home)


@pytest.fixture
def jobs(medley_home: Path) -> Iterator[Jobs]:
    """The jobs of the home; workers that a test leaves behind are ended, by their checked process names."""
    opened = open_jobs(medley_home)
    yield opened
    for job in opened.store.with_process():
        if job.process is not None:
            signal_group(job.process, signal.SIGKILL)


@pytest.fixture
def base(registry: Registry, tiny_base: Path) -> Version:
    """The tiny base, registered as a copy of a Hub model, as the tiny adapters name it."""
    return add_base(registry, tiny_base, "tiny", hub_id=TINY_BASE_ID)


@pytest.fixture
def online(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The Hub of the tests as the one that this process talks to."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub_server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.url)
    return hub_server


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """Twenty question-and-answer rows, in the Alpaca format."""
    rows = [{"instruction": f"What is {n} plus one?", "output": f"It is {n + 1}."} for n in range(20)]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def sums(registry: Registry, tmp_path: Path) -> Version:
    """The same rows as a dataset version."""
    folder = tmp_path / "sums"
    folder.mkdir()
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is {n} plus one?"}],
            "completion": [{"role": "assistant", "content": f"It is {n + 1}."}],
        }
        for n in range(20)
    ]
    for split, part in (("train", rows[:16]), ("eval", rows[16:])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    return registry.publish(
        "dataset", "sums", folder, metadata={"kind": "sft", "format": "alpaca", "licence": "cc0-1.0"}
    )


@pytest.fixture
def adapters(registry: Registry, base: Version, make_adapter: Callable[..., Path]) -> tuple[Version, Version]:
    """Two adapters of the tiny base: `left` and `right`."""
    return tuple(
        registry.publish("adapter", name, make_adapter(name, seed=seed), base=TINY_BASE_ID)
        for name, seed in (("left", 1), ("right", 2))
    )


@pytest.fixture
def a_training(registry: Registry, base: Version, sums: Version) -> Callable[..., JobSpec]:
    """a_training(name, max_steps=…, save_every=…) is a training on the tiny base."""

    def make(name: str, **options: object) -> JobSpec:
        return train_spec(registry, "sft", base="tiny", data="sums", name=name, options={**TRAINING, **options})

    return make


@pytest.fixture
def a_merge(registry: Registry, adapters: tuple[Version, Version]) -> Callable[[str], JobSpec]:
    """a_merge(name) is a linear merge of `left` and `right`."""
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in ("left", "right")]
    return lambda name: merge_spec(registry, {"merge_method": "linear", "models": models}, name=name)


@pytest.fixture
def an_import(registry: Registry, rows_file: Path) -> Callable[[str], JobSpec]:
    """an_import(name) is an import of the rows file."""
    return lambda name: import_spec(registry, rows_file, name=name)


@pytest.fixture
def freeze(jobs: Jobs) -> Callable[[Job], None]:
    """freeze(job) stops its worker in its tracks, as a hung machine would; it hears nothing but SIGKILL."""

    def stop_process(job: Job) -> None:
        assert job.pid is not None
        os.kill(job.pid, signal.SIGSTOP)

    return stop_process


def wait_for_event(jobs: Jobs, job_id: str, kind: str, timeout_s: float = LONG_S) -> dict:
    """The first event of this kind."""
    offset, deadline = 0, time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        job = jobs.store.get(job_id)
        events, offset = jobs.events(job_id, offset)
        found = next((event for event in events if event["kind"] == kind), None)
        if found is not None:
            return found
        assert not job.is_finished, f"{job.state}: {job.error}\n{jobs.log_tail(job_id)}"
        time.sleep(0.02)
    raise AssertionError(f"no {kind} event in {timeout_s} s; the log: {jobs.log_tail(job_id)}")


def done(jobs: Jobs, job_id: str, timeout_s: float = LONG_S) -> Job:
    """The job once it has ended well."""
    job = jobs.wait(job_id, timeout_s)
    assert job.state == "done", f"{job.state}: {job.error}\n{jobs.log_tail(job_id)}"
    return job


def wait_until_gone(process: ProcessName | None, timeout_s: float = LONG_S) -> None:
    """Return once the process has ended."""
    assert process is not None
    deadline = time.monotonic() + timeout_s
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(process)

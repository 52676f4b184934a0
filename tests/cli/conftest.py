"""The command line as a user has it: a process of its own, or the same code called here where that adds nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from medley.cli.main import run
from tests.tiny_model import TINY_BASE_ID, write_tiny_adapter

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
TINY_TRAINING = (
    *("--base", "tiny", "--data", "sums", "--device", "cpu", "--rank", "2", "--learning-rate", "1e-3"),
    *("--max-length", "64", "--max-eval-rows", "4", "--samples", "0"),
)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)


Here = Callable[..., Ended]


def environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "MEDLEY_HOME": str(home), "HF_HUB_OFFLINE": "1", **more}


@pytest.fixture
def medley(medley_home: Path) -> Run:
    """medley("adapter", "list") runs the command and returns its exit code, stdout and stderr."""

    def run_process(
        *arguments: object, check: bool = False, timeout_s: float = 300, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "medley.cli.main", *map(str, arguments)],
            cwd=ROOT,
            env=environment(medley_home, **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
            timeout=timeout_s,
        )

    return run_process


def _hear_ctrl_c() -> None:
    """Tests that were started in the background ignore SIGINT, and so would everything they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(medley_home: Path) -> Iterator[Start]:
    """start("chat", "left", stdin=PIPE) begins a command, to be talked to or interrupted."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*arguments: object, stdin: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "medley.cli.main", *map(str, arguments)],
            cwd=ROOT,
            env=environment(medley_home),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            preexec_fn=_hear_ctrl_c,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def here(medley_home: Path, capfd: pytest.CaptureFixture[str]) -> Here:
    """here("adapter", "list") does the same in this process; ok=True fails the test unless it ends with 0."""

    def run_here(*arguments: object, ok: bool = False) -> Ended:
        capfd.readouterr()
        code = run([str(each) for each in arguments])
        ended = Ended(code, *capfd.readouterr())
        assert not ok or code == 0, ended.err
        return ended

    return run_here


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A home with the base `tiny`, its adapters `left` and `right`, and the dataset `sums`; to be copied."""
    from hub import open_registry
    from medley.corpus import import_dataset
    from medley.jobs import add_base

    folder = tmp_path_factory.mktemp("stock")
    registry = open_registry(folder / "home")
    add_base(registry, tiny_base, "tiny", hub_id=TINY_BASE_ID)
    for name, seed in (("left", 1), ("right", 2)):
        source = write_tiny_adapter(tiny_base, folder / name, seed=seed)
        (source / "README.md").unlink()
        registry.publish("adapter", name, source, base=TINY_BASE_ID, metadata={"licence": "mit"})
    write_sums(folder / "sums.jsonl")
    import_dataset(folder / "sums.jsonl", folder / "sums", licence="cc0-1.0")
    facts = {"kind": "sft", "format": "alpaca", "licence": "cc0-1.0"}
    registry.publish("dataset", "sums", folder / "sums", metadata=facts)
    registry.close()
    return folder / "home"


def write_sums(path: Path, rows: int = 20) -> Path:
    """Rows in the Alpaca format."""
    lines = [json.dumps({"instruction": f"What is {n} plus one?", "output": f"It is {n + 1}."}) for n in range(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def stocked(medley_home: Path, stock: Path, no_worker_stays: None) -> Path:
    """The test's own copy of `stock`, as its home."""
    return Path(shutil.copytree(stock, medley_home))


@pytest.fixture
def no_worker_stays(medley_home: Path) -> Iterator[None]:
    """Workers that a test leaves behind are ended, by their checked process names."""
    yield
    from medley.jobs import open_jobs
    from medley.jobs.process import signal_group

    for job in open_jobs(medley_home).store.with_process():
        if job.process is not None:
            signal_group(job.process, signal.SIGKILL)


def kept_in(home: Path) -> list[str]:
    """All that a refused command must leave as it was: the files of the store, the names and the jobs."""
    from hub import open_registry
    from medley.jobs import open_jobs

    registry = open_registry(home)
    files = sorted(str(path.relative_to(home)) for path in (home / "store").rglob("*"))
    names = [version.label for version in registry.list(limit=None)]
    registry.close()
    return [*files, *names, *(job.id for job in open_jobs(home).list(None))]


def assert_refused(ended: Ended, *, says: str) -> None:
    """Exit code 1, nothing on stdout, and `says` as the one line on stderr."""
    assert (ended.code, ended.out, ended.err) == (1, "", f"Error: {says}\n")

"""Folding when something goes wrong: a full disk, a kill, a model larger than the memory that it may take."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from medley.errors import StorageError
from merging import fold, plan_fold
from tests.merging.base_files import QUERY, three_adapters, write_base
from tests.merging.lora_files import random_factors, write_lora

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond this, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    inputs, _ = three_adapters(tmp_path / "in")
    with largest_file(600), pytest.raises(StorageError, match=r"out' cannot be written: File too large\.$"):
        fold(base, inputs, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "in"]


def test_too_little_space_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_base(tmp_path / "base")
    inputs, _ = three_adapters(tmp_path / "in")
    plan = plan_fold(base, inputs, tmp_path / "out")
    assert (plan.problems, plan.size_bytes, plan.changed) == ((), 226, 2)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    assert (
        plan_fold(base, inputs, tmp_path / "out")
        .problems[0]
        .startswith("The result can take 0.2 kB, but only 0.1 kB are free at ")
    )


def test_a_killed_fold_leaves_nothing_to_see_and_can_be_run_again(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    inputs, _ = three_adapters(tmp_path / "in")
    out = tmp_path / "work" / "out"
    child = os.fork()
    if not child:
        fold(base, inputs, out, emit=lambda kind, **fields: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not out.exists()
    assert [path.name.startswith(f".out.{child}-") for path in out.parent.iterdir()] == [True]
    fold(base, inputs, out)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


MEASURED = """
import resource, sys
from pathlib import Path
import torch
from merging import FoldInput, fold
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small, base, adapter, out = map(Path, sys.argv[1:])
fold(small, [FoldInput(adapter / "small")], out / "small")   # what libraries load at first use counts as theirs
before = peak()
fold(base, [FoldInput(adapter / "large")], out / "large", shard_bytes=6 * 10**7)
print(peak() - before)
"""


def test_memory_stays_below_the_largest_tensor(tmp_path: Path) -> None:
    """Two matrices of 32 MB and an embedding of 48 MB: about three of the largest would be allowed."""
    write_base(tmp_path / "small")
    large = write_base(tmp_path / "large")
    names = [f"model.layers.{layer}.mlp.up_proj" for layer in range(2)]
    tensors = {f"{name}.weight": torch.zeros(4000, 4000, dtype=torch.bfloat16) for name in names}
    tensors["model.embed_tokens.weight"] = torch.zeros(6000, 4000, dtype=torch.bfloat16)
    save_file(tensors, large / "model-00001-of-00001.safetensors")
    write_lora(tmp_path / "adapters" / "small", {QUERY: random_factors(6, 5, 2, 1)})
    write_lora(tmp_path / "adapters" / "large", {name: random_factors(4000, 4000, 8, 1) for name in names})
    arguments = [str(tmp_path / name) for name in ("small", "large", "adapters", "out")]
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(ended.stdout) < 32e6
    assert len(list((tmp_path / "out" / "large").glob("*.safetensors"))) == 3

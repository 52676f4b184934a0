"""The estimate of memory against a real run on the bundled base; the other trainers are in benchmarks/memory.py."""

import sys
from pathlib import Path

import pytest

from benchmarks.memory import GOAL, in_fresh_process


@pytest.mark.bundled
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
def test_two_steps_peak_where_the_estimate_says(bundled_base: Path) -> None:
    expected, measured = in_fresh_process("sft", 64, {"batch_size": 2}, bundled_base)
    assert expected == pytest.approx(measured, rel=GOAL)

"""What a training will probably run on, found without torch: it names the lane that the job waits in, and the plan."""

import os
import platform
import sys
from pathlib import Path

from medley.lm.load import Device

BF16_FLAGS = {"avx512_bf16", "amx_tile"}  # as `medley.lm.load` asks torch


def likely_device(wanted: str = "auto") -> str:
    """The device's word (cuda, mps or cpu): the wanted one, or for auto what this machine seems to have."""
    if wanted != "auto":
        return wanted
    if Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists():  # NVIDIA's driver, AMD's driver
        return "cuda"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "mps"
    return "cpu"


def likely_hardware(device: str) -> Device:
    """The device with the numbers that a base will probably be held in: bf16, but fp32 on a CPU without them."""
    return Device(device, "bfloat16" if device != "cpu" or BF16_FLAGS & _cpu_flags() else "float32")


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def core_count() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Which device a training will probably run on, found without torch: it only names the lane that the job waits in."""

import platform
import sys
from pathlib import Path


def likely_device(wanted: str = "auto") -> str:
    """The device's word (cuda, mps or cpu): the wanted one, or for auto what this machine seems to have."""
    if wanted != "auto":
        return wanted
    if Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists():  # NVIDIA's driver, AMD's driver
        return "cuda"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "mps"
    return "cpu"

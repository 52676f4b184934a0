"""Medley: train LoRA adapters, blend them exactly, compare them side by side, publish the best."""

import os

__version__ = "0.1.0"

# The Hub's client reads this at its import and would otherwise ask its makers' server a question before the first call.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

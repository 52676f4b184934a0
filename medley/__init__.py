"""Medley: train LoRA adapters, blend them exactly, compare them side by side, publish the best."""

import os

__version__ = "0.1.0"

# Both are read once, when a library is loaded, so they are set before any is; what the user has set stands.
# The Hub's client would otherwise ask its makers' server a question before its first call.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Waiting threads would otherwise spin and take the cores from other work: a training beside an open app.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

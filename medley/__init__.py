"""Medley: train LoRA adapters, blend them exactly, compare them side by side, publish the best."""

__version__ = "0.1.0"

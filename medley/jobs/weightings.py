"""The weightings that `learn-weights` measured, as a table of words for the terminal and the app."""

from collections.abc import Mapping, Sequence
from typing import Any


def weightings_table(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers, and a row for each weighting with what it reached on the eval split, the learned one first.

    Args:
        report: `learned_weights` of a version's metadata.
    """
    is_scored = report["metric"] != "loss"
    rows = []
    for each in report["rows"]:
        weights = ", ".join(f"{label} {weight_text(values)}" for label, values in each["weights"].items())
        score = [f"{each['score']:.4f}"] if is_scored else []
        rows.append([each["name"], f"{each['loss']:.4f}", *score, weights])
    return ["weights", "loss", *([report["metric"]] if is_scored else []), "of each adapter"], rows


def weight_text(values: Sequence[float]) -> str:
    """One weight, or the range that the layers' weights take."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{min(values):.2f} to {max(values):.2f}"

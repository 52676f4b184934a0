"""Spectral methods and the compressed space once more, in NumPy, on whole deltas: no core space, no small matrices.

The signature of the methods is that of oracle.py, whose table has a row for each of these.
"""

import numpy as np

from tests.merging.oracle_exact import Array, Draw, Own, weighted_sum

SMALLEST = 1e-4  # of the largest singular value: less is no direction of a random adapter


def directions(matrix: Array) -> tuple[Array, Array, Array]:
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    rank = int((values > SMALLEST * values[0]).sum())
    return left[:, :rank], values[:rank], right[:rank]


def size_of_core(deltas: Array) -> int:
    """How many directions all adapters have together, on the side that has fewer."""
    return min(len(directions(np.concatenate(list(each), axis=1))[1]) for each in (deltas, deltas.swapaxes(1, 2)))


def right_angled(columns: Array) -> Array:
    left, _, right = directions(columns)
    return left @ right


def joined(parts: list[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    lefts, values, rights = zip(*parts, strict=True)
    left, right = np.concatenate(lefts, axis=1), np.concatenate(rights)
    return right_angled(left), np.concatenate(values), right_angled(right.T).T


def tsv(deltas: Array, weights: Array, own: Own, draw: Draw) -> Array:
    parts = []
    for delta, weight in zip(deltas, weights, strict=True):
        left, values, right = directions(delta)
        kept = max(1, int(own["keep"] * len(values)))
        parts.append((left[:, :kept], weight * values[:kept], right[:kept]))
    left, values, right = joined(parts)
    return own["lambda"] * (left * values) @ right


def iso_c(deltas: Array, weights: Array, own: Own, draw: Draw) -> Array:
    left, values, right = directions(weighted_sum(deltas, weights))
    return own["lambda"] * values.sum() / size_of_core(deltas) * left @ right


def iso_cts(deltas: Array, weights: Array, own: Own, draw: Draw) -> Array:
    size = size_of_core(deltas)
    each = (size - int(own["common_fraction"] * size)) // len(deltas)
    shared = size - each * len(deltas)
    left, values, right = directions(weighted_sum(deltas, weights))
    parts = [(left[:, :shared], values[:shared], right[:shared])]
    outside = np.eye(len(left)) - parts[0][0] @ parts[0][0].T
    for delta, weight in zip(deltas, weights, strict=True):
        left, values, right = np.linalg.svd(weight * outside @ delta, full_matrices=False)
        kept = min(each, int((values > SMALLEST * abs(weight) * np.linalg.norm(delta)).sum()))
        parts.append((left[:, :kept], values[:kept], right[:kept]))
    left, values, right = joined(parts)
    return own["lambda"] * values.sum() / size * left @ right


def compressed_axes(dense: list[Array], rank: int) -> tuple[Array, Array]:
    """U and V of Compress-then-Merge: each the best for the other, from the largest of the stacked deltas on."""
    columns = directions(np.concatenate(dense).T)[0][:, :rank]
    held = 0.0
    for _ in range(12):
        rows = np.linalg.svd(np.concatenate([each @ columns for each in dense], axis=1))[0][:, :rank]
        columns, values, _ = np.linalg.svd(np.concatenate([each.T @ rows for each in dense], axis=1))
        columns, before, held = columns[:, :rank], held, float((values[:rank] ** 2).sum())
        if held - before <= 1e-14 * held:
            break
    return rows, columns

"""Weighted sums of deltas once more, in NumPy and dense: every vector is built, no inner product is saved.

The signature is that of oracle.py, whose table has a row for each of these.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

Array = np.ndarray
Own = Mapping[str, Any]
Draw = Callable[[], Array]


def weighted_sum(deltas: Sequence[Array], weights: Array) -> Array:
    return np.einsum("n,nij->ij", weights, np.stack(deltas))


def linear(deltas: Array, weights: Array, own: Own, draw: Draw) -> Array:
    return weighted_sum(deltas, weights) / (weights.sum() if own["normalize"] else 1.0)


def angle_between(x: Array, y: Array) -> float:
    """0 to π; a zero vector is at a right angle to everything."""
    sizes = np.linalg.norm(x) * np.linalg.norm(y)
    return math.acos(min(1.0, max(-1.0, float((x * y).sum() / sizes)))) if sizes else math.pi / 2


def arc(x: Array, y: Array, t: float) -> Array:
    """The point t of the arc from x to y: the norms go over into each other too. A line where there is no angle."""
    angle = angle_between(x, y)
    if math.sin(angle) ** 2 <= 1e-7:
        return (1 - t) * x + t * y
    return (math.sin((1 - t) * angle) * x + math.sin(t * angle) * y) / math.sin(angle)


def slerp(deltas: Array, weights: Array, own: Own, draw: Draw) -> Array:
    x, y = deltas
    if not x.any() or not y.any() or abs(math.cos(angle_between(x, y))) > 0.9995:
        return (1 - own["t"]) * x + own["t"] * y
    return arc(x, y, own["t"])


def nuslerp(deltas: Array, weights: Array, own: Own, draw: Draw) -> Array:
    (x, y), t = deltas, weights[1] / weights.sum()
    if own["nuslerp_flatten"]:
        return arc(x, y, t)
    if own["nuslerp_row_wise"]:
        return np.stack([arc(*pair, t) for pair in zip(x.T, y.T, strict=True)]).T
    return np.stack([arc(*pair, t) for pair in zip(x, y, strict=True)])


def multislerp(deltas: Array, weights: Array, own: Own, draw: Draw) -> Array:
    shares = weights / (weights.sum() if own["normalize_weights"] else 1.0)
    norms = np.array([np.linalg.norm(delta) for delta in deltas])
    if not (shares * norms).any():
        return np.zeros(deltas.shape[1:])
    mean = sum(share * delta / norm for share, delta, norm in zip(shares, deltas, norms, strict=True) if norm)
    return mean / np.linalg.norm(mean) * (shares @ norms)


def karcher(deltas: Array, weights: Array, own: Own, draw: Draw) -> Array:
    norms = np.array([np.linalg.norm(delta) for delta in deltas])
    units = [delta / norm for delta, norm in zip(deltas, norms, strict=True) if norm > 0]
    mean = sum(units) / np.linalg.norm(sum(units))
    for _ in range(own["max_iter"]):
        step = np.zeros(mean.shape)
        for unit in units:
            angle = angle_between(unit, mean)
            if angle > own["tol"]:
                step += angle / math.sin(angle) * (unit - math.cos(angle) * mean) / len(units)
        length = np.linalg.norm(step)
        if length < own["tol"]:
            break
        mean = math.cos(length) * mean + math.sin(length) * step / length
    return mean / np.linalg.norm(mean) * norms.mean()


def model_stock(deltas: Array, weights: Array, own: Own, draw: Draw) -> Array:
    if own["filter_wise"]:
        return np.stack([stock(deltas[:, row]) for row in range(deltas.shape[1])])
    return stock(deltas)


def stock(vectors: Array) -> Array:
    count = len(vectors)
    cosines = [math.cos(angle_between(x, y)) for x, y in combinations(vectors, 2)]
    cosine = sum(cosines) / len(cosines)
    return count * cosine / (1 + (count - 1) * cosine) * vectors.mean(axis=0)

"""Every method once more, in NumPy, dense and in float64: written for reading, with sorts and loops instead of speed.

An oracle gets one module: `deltas` (n, rows, cols) in the space that the method works in, without the adapters of
weight 0; `weights` (n,); `own`, the recipe's parameters by name, one value per adapter where they are per adapter; and
`draw`, the random numbers in [0, 1) that the runner's generator gives for one adapter after the other. ORACLES is the
table: one row per method and variant; weighted sums of deltas are in oracle_exact.py, methods that go by singular
vectors in oracle_spectral.py. SPACES has one row per space.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tests.merging import oracle_exact as exact
from tests.merging import oracle_spectral as spectral
from tests.merging.oracle_exact import Array, Draw, Own, weighted_sum

Oracle = Callable[[Array, Array, Own, Draw], Array]
Keep = Callable[[Array, Own, Draw], Sequence[Array]]
Join = Callable[[Sequence[Array], Array, Own], Array]


# Elementwise, first half: what each adapter keeps.


def everything(deltas: Array, own: Own, draw: Draw) -> Sequence[Array]:
    return deltas


def largest(delta: Array, count: int) -> Array:
    edge = np.sort(np.abs(delta), axis=None)[-count]
    return np.abs(delta) >= edge


def rescaled(delta: Array, kept: Array, is_wanted: bool) -> Array:
    total = np.abs(kept).sum()
    return kept * np.abs(delta).sum() / total if is_wanted and total > 0 else kept


def trimmed(deltas: Array, own: Own, draw: Draw) -> list[Array]:
    counts = [max(1, int(share * deltas[0].size)) for share in own["density"]]
    return [
        rescaled(delta, delta * largest(delta, count), own.get("rescale", False))
        for delta, count in zip(deltas, counts, strict=True)
    ]


def trimmed_whole(deltas: Array, own: Own, draw: Draw) -> list[Array]:
    """By the magnitudes of all of the adapter's modules, `own["whole"]`; the one at the edge may be moved a little."""
    kept = []
    for delta, share, whole in zip(deltas, own["density"], own["whole"], strict=True):
        edge = np.sort(whole)[-max(1, int(share * whole.size))] if whole.size and share < 1 else 0.0
        is_kept = np.abs(delta) >= edge - 1e-6 * whole.max(initial=0.0)
        kept.append(rescaled(delta, delta * is_kept, own["rescale"]))
    return kept


def banded(deltas: Array, own: Own, draw: Draw) -> list[Array]:
    kept = []
    for delta, share, top in zip(deltas, own["density"], own["gamma"], strict=True):
        size, order = delta.size, np.argsort(-np.abs(delta), axis=None)
        count = max(1, int(share * size))
        first = min(int(top * size), size - count) if share < 1 else 0
        mask = np.zeros(size, dtype=bool)
        mask[order[first : first + count]] = True
        kept.append(rescaled(delta, delta * mask.reshape(delta.shape), own["rescale"]))
    return kept


def chances(delta: Array, density: float, epsilon: float) -> Array:
    """DARE's where epsilon is 0, else DELLA's."""
    columns = delta.shape[1]
    place = np.abs(delta).argsort(axis=1).argsort(axis=1) / (columns - 1) if columns > 1 else 0.5
    return density - epsilon + 2 * epsilon * place + np.zeros(delta.shape)


def drawn(deltas: Array, own: Own, draw: Draw) -> list[tuple[Array, Array]]:
    """Per adapter what stays of it, and the chances it had; at density 1 everything, and nothing is drawn."""
    found = []
    for delta, density, epsilon in zip(deltas, own["density"], own.get("epsilon", [0.0] * len(deltas)), strict=True):
        chance = chances(delta, density, epsilon) if density < 1 else np.ones(delta.shape)
        found.append((delta * (draw() < chance) if density < 1 else delta, chance))
    return found


def at_random(deltas: Array, own: Own, draw: Draw) -> list[Array]:
    return [
        rescaled(delta, kept, own["rescale"]) for delta, (kept, _) in zip(deltas, drawn(deltas, own, draw), strict=True)
    ]


def at_random_paper(deltas: Array, own: Own, draw: Draw) -> list[Array]:
    return [kept / chance if own["rescale"] else kept for kept, chance in drawn(deltas, own, draw)]


# Elementwise, second half: how what was kept comes together.


def summed(deltas: Sequence[Array], weights: Array, own: Own) -> Array:
    return weighted_sum(deltas, weights) / (weights.sum() if own.get("normalize") else 1.0)


def elected(deltas: Sequence[Array], weights: Array, own: Own) -> Array:
    """mergekit's: weighted values vote, and the weights of those that agree divide."""
    merged = np.zeros(deltas[0].shape)
    for place in np.ndindex(merged.shape):
        values = [weight * delta[place] for weight, delta in zip(weights, deltas, strict=True)]
        sign = 1.0 if sum(values) >= 0 else -1.0
        agreeing = [index for index, value in enumerate(values) if np.sign(value) == sign]
        divisor = sum(weights[index] for index in agreeing) if own["normalize"] else 1.0
        merged[place] = sum(values[index] for index in agreeing) / (divisor or 1.0)
    return merged


def elected_paper(deltas: Sequence[Array], weights: Array, own: Own) -> Array:
    """The paper's: plain values vote, and the number of those that agree divides."""
    merged = np.zeros(deltas[0].shape)
    for place in np.ndindex(merged.shape):
        sign = np.sign(sum(delta[place] for delta in deltas))
        agreeing = [i for i, delta in enumerate(deltas) if delta[place] and np.sign(delta[place]) == sign]
        total = sum(weights[index] * deltas[index][place] for index in agreeing)
        merged[place] = total / max(1, len(agreeing)) if own["normalize"] else total
    return merged


def sce(deltas: Array, weights: Array, own: Own, draw: Draw) -> Array:
    """Above mergekit's floors, where its rule and the paper's are one."""
    variances = deltas.var(axis=0)
    varying = int((variances > 1e-12 * variances.max()).sum())
    mask = largest(variances, max(1, int(own["select_topk"] * varying))) if varying else np.ones(variances.shape, bool)
    selected = deltas * (mask | (own["select_topk"] >= 1))
    energies = (selected**2).mean(axis=(1, 2))
    shares = energies / energies.sum() if energies.any() else energies
    return elected_by_plain_total(selected, shares)


def elected_by_plain_total(deltas: Array, shares: Array) -> Array:
    merged = np.zeros(deltas.shape[1:])
    for place in np.ndindex(merged.shape):
        values = [delta[place] for delta in deltas]
        sign = 1.0 if sum(values) >= 0 else -1.0
        agreeing = [index for index, value in enumerate(values) if np.sign(value) == sign]
        total = sum(shares[index] for index in agreeing)
        merged[place] = sum(shares[index] * values[index] for index in agreeing) / total if total > 0 else 0.0
    return merged


def halves(keep: Keep, join: Join) -> Oracle:
    """An oracle of what each adapter keeps and how that comes together, times lambda."""
    return lambda deltas, weights, own, draw: own.get("lambda", 1.0) * join(keep(deltas, own, draw), weights, own)


ORACLES: dict[tuple[str, str], Oracle] = {
    ("linear", "mergekit"): exact.linear,
    ("task_arithmetic", "mergekit"): halves(everything, summed),
    ("slerp", "mergekit"): exact.slerp,
    ("nuslerp", "mergekit"): exact.nuslerp,
    ("multislerp", "mergekit"): exact.multislerp,
    ("karcher", "mergekit"): exact.karcher,
    ("model_stock", "mergekit"): exact.model_stock,
    ("concat", "mergekit"): halves(everything, summed),
    ("ties", "mergekit"): halves(trimmed, elected),
    ("ties", "paper"): halves(trimmed_whole, elected_paper),
    ("dare_linear", "mergekit"): halves(at_random, summed),
    ("dare_linear", "paper"): halves(at_random_paper, summed),
    ("dare_ties", "mergekit"): halves(at_random, elected),
    ("dare_ties", "paper"): halves(at_random_paper, elected_paper),
    ("della_linear", "mergekit"): halves(at_random, summed),
    ("della_linear", "paper"): halves(at_random_paper, summed),
    ("della", "mergekit"): halves(at_random, elected),
    ("della", "paper"): halves(at_random_paper, elected_paper),
    ("breadcrumbs", "mergekit"): halves(banded, summed),
    ("breadcrumbs_ties", "mergekit"): halves(banded, elected),
    ("breadcrumbs_ties", "paper"): halves(banded, elected_paper),
    ("sce", "mergekit"): sce,
    ("sce", "paper"): sce,
    ("magnitude_prune", "mergekit"): halves(trimmed, summed),
    ("tsv", "mergekit"): spectral.tsv,
    ("iso_c", "mergekit"): spectral.iso_c,
    ("iso_cts", "mergekit"): spectral.iso_cts,
}


# Spaces: from the dense deltas of one module to what the method sees, and the way back.

Space = Callable[..., tuple[list[Array], Callable[[Array], Array]]]


def delta_space(dense: Sequence[Array]) -> tuple[list[Array], Callable[[Array], Array]]:
    return list(dense), lambda merged: merged


def core_space(dense: Sequence[Array]) -> tuple[list[Array], Callable[[Array], Array]]:
    """Between the singular vectors of the deltas side by side and of the deltas on top of each other."""
    return between(axes(np.concatenate(dense, axis=1)), axes(np.concatenate(dense).T), dense)


def knots_space(dense: Sequence[Array]) -> tuple[list[Array], Callable[[Array], Array]]:
    """From the singular vectors of the deltas side by side to the columns as they are."""
    return between(axes(np.concatenate(dense, axis=1)), np.eye(dense[0].shape[1]), dense)


def compressed_space(dense: Sequence[Array], rank: int) -> tuple[list[Array], Callable[[Array], Array]]:
    """Between `rank` axes on each side; where the core space has no more of them, it is the core space."""
    rows, columns = axes(np.concatenate(dense, axis=1)), axes(np.concatenate(dense).T)
    if max(rows.shape[1], columns.shape[1]) > rank:
        rows, columns = spectral.compressed_axes(list(dense), rank)
    return between(rows, columns, dense)


def between(rows: Array, columns: Array, dense: Sequence[Array]) -> tuple[list[Array], Callable[[Array], Array]]:
    inside = [rows.T @ each @ columns for each in dense]
    return [
        each * (abs(each) > 1e-12 * np.linalg.norm(each)) for each in inside
    ], lambda merged: rows @ merged @ columns.T


def axes(matrix: Array) -> Array:
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, values > 1e-7 * values[0]]


SPACES: dict[str, Space] = {
    "delta": delta_space,
    "core": core_space,
    "knots": knots_space,
    "compressed": compressed_space,
}

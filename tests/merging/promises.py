"""Which promise is tested on which method, space and variant: all of them, but for what a method breaks by nature.

The cases come from METHODS, so a new row is tested from the day it is there. What a row rules out is read from it, in
`broken_by`; any other method that cannot keep a promise is named in BROKEN_BY_NATURE with the reason, and has a test of
its own that shows what it does instead.
"""

from typing import Any

import pytest

from merging import METHODS
from merging.method import SPACES, Method

PROMISES = (
    "one adapter returns itself",
    "identical adapters return themselves",
    "weight 0 drops an adapter",
    "the order does not matter",
    "the gauge does not matter",
)
BROKEN_BY_NATURE = {
    "iso_c": {
        "one adapter returns itself": "its singular values become equal",
        "identical adapters return themselves": "their singular values become equal",
    },
    "iso_cts": {
        "one adapter returns itself": "its singular values become equal",
        "identical adapters return themselves": "their singular values become equal",
    },
    "factor": {
        "identical adapters return themselves": "its cross terms add up too",
        "the gauge does not matter": "it averages the factors themselves",
    },
}
AVERAGES_BY_COUNT = {("ties", "paper"), ("della", "paper"), ("tsv", None)}  # so weights of 1 are the neutral ones
SETTINGS_OF_FAMILY: dict[str, list[dict[str, Any]]] = {  # keys of a recipe under which a method is another function
    "exact": [{}],
    "elementwise": [{"space": space, **({"rank": 3} if space == "compressed" else {})} for space in SPACES],
    "spectral": [{}],
    "concat": [{}],
    "factor": [{}],
}
SETTINGS_OF_METHOD: dict[str, list[dict[str, Any]]] = {  # the same for parameters
    "linear": [{}, {"space": "compressed", "rank": 3}],
    "task_arithmetic": [{}, {"space": "compressed", "rank": 3}],
    "nuslerp": [
        {},
        {"parameters": {"nuslerp_flatten": False}},
        {"parameters": {"nuslerp_flatten": False, "nuslerp_row_wise": True}},
    ],
    "model_stock": [{}, {"parameters": {"filter_wise": True}}],
}
CASES = [
    (method.name, keys | ({} if variant == "mergekit" else {"variant": variant}))
    for method in METHODS.values()
    for keys in SETTINGS_OF_METHOD.get(method.name, SETTINGS_OF_FAMILY[method.family])
    for variant in method.variants
]


def name_of(case: tuple[str, dict[str, Any]]) -> str:
    """For example "ties-delta-paper" or "model_stock-filter_wise"."""
    method, keys = case
    words = [word for word in keys.values() if isinstance(word, str)]
    return "-".join([method, *keys.get("parameters", ()), *words])


def broken_by(method: Method) -> dict[str, str]:
    """The promises that a method does not keep, and why."""
    broken = dict(BROKEN_BY_NATURE.get(method.name, {}))
    if not method.is_weighted:
        broken["weight 0 drops an adapter"] = "it has no weights"
    if method.min_models > 1:
        broken["one adapter returns itself"] = "it takes more than one"
        broken["weight 0 drops an adapter"] = "it takes more than the one that is left"
    if method.is_ordered or method.max_models is not None:
        broken["the order does not matter"] = "its order means something, or it does not take the three of the test"
    return broken


def every_method(promise: str | None = None) -> pytest.MarkDecorator:
    """Parametrizes `method` and `keys` with every case that keeps the promise."""
    assert promise is None or promise in PROMISES
    cases = [case for case in CASES if promise not in broken_by(METHODS[case[0]])]
    return pytest.mark.parametrize(("method", "keys"), cases, ids=list(map(name_of, cases)))


def neutral_weights(method: str, keys: dict[str, Any]) -> tuple[float | None, float | None]:
    """Two weights under which two equal adapters merge to themselves."""
    if not METHODS[method].is_weighted:
        return None, None
    return (1.0, 1.0) if (method, keys.get("variant")) in AVERAGES_BY_COUNT else (0.25, 0.75)


def weights_for(method: str, weights: list[float]) -> list[float | None]:
    """The weights, for methods that take any."""
    return [weight if METHODS[method].is_weighted else None for weight in weights]


def thinned(method: str, keys: dict[str, Any], share: float) -> dict[str, Any]:
    """The case's keys with parameters under which a method leaves something out, if it can."""
    thin = {name: share for name in ("density", "select_topk", "keep") if METHODS[method].parameter(name)}
    return keys | {"parameters": keys.get("parameters", {}) | thin}

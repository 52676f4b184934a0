"""The whole path, from adapter files to the written adapter, against the dense oracle of every method.

Adapters of every kind of scale, dtype and coverage are drawn, merged, read back and compared. An example in which the
rule itself jumps within the rounding of float32 (two magnitudes at an edge that are equal but for the last bits) proves
nothing and is drawn again.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from merging import METHODS, merge
from merging.solve import module_seed
from tests.merging.lora_files import SHAPES, dense_deltas, random_factors, write_lora
from tests.merging.oracle import ORACLES, SPACES, Array, Oracle
from tests.merging.promises import CASES, name_of

WITHOUT_ORACLE = {"factor": "approximate; held against the exact sum in test_merge.py"}
COMPARED = [case for case in CASES if case[0] not in WITHOUT_ORACLE]
ROUNDING = 5e-7  # what float32 may move an entry by, as a share of the largest
JUMP = 2e-5  # a change of the result by such rounding that comparing could not tell from an error
TOLERANCE = 3e-5  # of the result; both are shares of the sizes of inputs and result
TRIES = 6  # roundings that are tried; an edge between equals shows in each with chance 1/2
FULL_RANK = 7  # no module of SHAPES has more, so nothing is cut

OF_ADAPTER = {  # an adapter's own shape, and the values of parameters with scope "model"
    "rank": st.integers(1, 3),
    "alpha": st.integers(1, 9),
    "is_rslora": st.booleans(),
    "has_patterns": st.booleans(),
    "dtype": st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    "missing": st.sampled_from([None, None, *SHAPES]),
    "weight": st.sampled_from([1.0, 0.3, 1.6, -0.7, 0.0]),
    "density": st.sampled_from([0.5, 0.3, 0.75, 1.0]),
    "gamma": st.sampled_from([0.01, 0.1, 0.4]),
    "epsilon": st.sampled_from([0.15, 0.0, 0.2]),
}
OF_MERGE = {  # the values of the other parameters
    "normalize": st.booleans(),
    "normalize_weights": st.booleans(),
    "rescale": st.booleans(),
    "lambda": st.sampled_from([1.0, 0.7]),
    "t": st.sampled_from([0.3, 0.0, 1.0]),
    "select_topk": st.sampled_from([1.0, 0.5, 0.2]),
    "keep": st.sampled_from([1.0, 0.5]),
    "common_fraction": st.sampled_from([0.8, 0.5, 0.0]),
}


def test_every_method_and_every_space_has_its_oracle() -> None:
    rows = {(name, variant) for name, method in METHODS.items() for variant in method.variants}
    assert rows == set(ORACLES) | {(name, "mergekit") for name in WITHOUT_ORACLE}
    assert {keys["space"] for _, keys in CASES if "space" in keys} <= set(SPACES)


def test_every_parameter_is_drawn() -> None:
    """From OF_ADAPTER or OF_MERGE, or as a case of its own; but for the advanced ones, which are of the solution."""
    cases = {name for _, keys in CASES for name in keys.get("parameters", {})}
    wanted = {each.name for row in METHODS.values() for each in row.parameters if not each.is_advanced}
    assert wanted <= {*cases, *OF_ADAPTER, *OF_MERGE}


@pytest.mark.parametrize(("method", "keys"), COMPARED, ids=list(map(name_of, COMPARED)))
@settings(max_examples=3, deadline=None)
@given(
    chosen=st.lists(st.fixed_dictionaries(OF_ADAPTER), min_size=2, max_size=3),
    shared=st.fixed_dictionaries(OF_MERGE),
    seed=st.integers(0, 2**32),
)
def test_the_written_adapter_is_the_oracles(
    method: str, keys: dict[str, Any], chosen: list[dict[str, Any]], shared: dict[str, Any], seed: int
) -> None:
    row, chosen = METHODS[method], chosen[: METHODS[method].max_models]
    own = {each.name: shared.get(each.name, each.default) for each in row.parameters if each.scope == "global"}
    own, keys = own | keys.get("parameters", {}), {key: value for key, value in keys.items() if key != "parameters"}
    per_model = [each.name for each in row.parameters if each.scope == "model"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = [write(folder / f"in-{index}", each, seed + index) for index, each in enumerate(chosen)]
        models = [
            {"model": str(file), "parameters": {name: each[name] for name in per_model}}
            for file, each in zip(files, chosen, strict=True)
        ]
        inputs = list(zip(chosen, map(dense_deltas, files), strict=True))
        wanted = oracle_result(method, keys, inputs, own, seed)
        recipe = {"merge_method": method, "models": models, "parameters": own, "seed": seed, "out_dtype": "float32"}
        merge(recipe | ({} if row.family == "concat" else {"rank": FULL_RANK}) | keys, folder / "out")
        found = dense_deltas(folder / "out")
    assert set(found) == set(wanted)
    for name, (expected, size) in wanted.items():
        assert float(np.linalg.norm(found[name].numpy() - expected)) <= TOLERANCE * size, name


def write(folder: Path, adapter: Mapping[str, Any], seed: int) -> Path:
    """The adapter's folder; with patterns, its second module has a rank and an alpha of its own.

    The keys are plain names: a regular expression is matched in a process of its own, which takes most of an example.
    """
    names = [name for name in SHAPES if name != adapter["missing"]]
    rank_pattern = {"down_proj": adapter["rank"] % 3 + 1} if adapter["has_patterns"] else {}
    modules = {}
    for index, name in enumerate(names):
        rank = next((rank for key, rank in rank_pattern.items() if name.endswith(key)), adapter["rank"])
        modules[name] = random_factors(*SHAPES[name], rank, seed * 10 + index)
    return write_lora(
        folder,
        modules,
        dtype=adapter["dtype"],
        r=adapter["rank"],
        lora_alpha=adapter["alpha"],
        use_rslora=adapter["is_rslora"],
        rank_pattern=rank_pattern,
        alpha_pattern={"down_proj": 5} if adapter["has_patterns"] else {},
    )


def oracle_result(
    method: str,
    keys: Mapping[str, Any],
    inputs: Sequence[tuple[dict[str, Any], dict[str, torch.Tensor]]],
    own: Mapping[str, Any],
    seed: int,
) -> dict[str, tuple[Array, float]]:
    """Per module the oracle's delta and the size of what went in."""
    row, oracle = METHODS[method], ORACLES[method, keys.get("variant", "mergekit")]
    if not row.is_weighted:
        inputs = [({**each, "weight": 1.0}, deltas) for each, deltas in inputs]
    is_sum = row.family in ("exact", "concat") and "space" not in keys
    counted = [(each, deltas) for each, deltas in inputs if each["weight"] or is_sum]
    if abs(sum(each["weight"] for each, _ in counted)) < 0.1:
        reject()  # some methods divide by it
    touched = [set(deltas) for _, deltas in counted]
    results, modules = {}, {}
    for name in sorted({name for _, deltas in inputs for name in deltas}):
        zero = torch.zeros(SHAPES[name], dtype=torch.float64)
        dense = [deltas.get(name, zero).numpy() for _, deltas in counted]
        size = {"rank": keys["rank"]} if "rank" in keys else {}
        modules[name] = (dense, *SPACES[keys.get("space", "delta")](dense, **size))
    for name, (dense, inside, back) in modules.items():
        order = sorted(range(len(counted)), key=lambda index, dense=dense: np.linalg.norm(dense[index]) * row.is_random)
        per_model = {
            each.name: [counted[index][0][each.name] for index in order]
            for each in row.parameters
            if each.scope == "model"
        }
        whole = [
            np.concatenate(
                [abs(inside[index]).ravel() for each, (_, inside, _) in modules.items() if each in touched[index]]
            )
            for index in order
        ]
        weights = np.array([counted[index][0]["weight"] for index in order])
        size = float(sum(abs(weights[i]) * np.linalg.norm(dense[index]) for i, index in enumerate(order)))
        rule = certain(oracle, weights, size, {**own, **per_model, "whole": whole}, module_seed(seed, name))
        deltas = np.stack([inside[index] for index in order])
        merged = back(rule(deltas)) if size else np.zeros(SHAPES[name])
        results[name] = merged, size + float(np.linalg.norm(merged))
    return results


def certain(oracle: Oracle, weights: Array, size: float, own: Mapping[str, Any], seed: int) -> Callable[[Array], Array]:
    """The oracle as a function of the deltas; an example where it jumps within float32's rounding is drawn again."""

    def once(deltas: Array) -> Array:
        generator = torch.Generator().manual_seed(seed)
        return oracle(deltas, weights, own, lambda: torch.rand(deltas.shape[1:], generator=generator).double().numpy())

    def rule(deltas: Array) -> Array:
        result, noise = once(deltas), np.random.default_rng(seed)
        for _ in range(TRIES):
            moved = deltas + ROUNDING * abs(deltas).max() * noise.standard_normal(deltas.shape) * (deltas != 0)
            if np.linalg.norm(once(moved) - result) > JUMP * (size + np.linalg.norm(result)):
                reject()
        return result

    return rule

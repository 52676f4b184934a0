"""Weights of blends as tensors: a row per blend, a column per adapter, and a table for each module that has its own."""

import torch

from medley.lm.blend_weights import row_weights, without_zeros


def test_a_module_with_weights_of_its_own_has_a_table_of_all_rows() -> None:
    weights = row_weights([{"a": {"x": 0.5}, "b": 0.25}, {"a": 1.0}, {"b": {"y": -2.0}}], ["a", "b"])
    assert weights.everywhere.tolist() == [[0.0, 0.25], [1.0, 0.0], [0.0, 0.0]]
    assert {name: each.tolist() for name, each in weights.by_module.items()} == {
        "x": [[0.5, 0.25], [1.0, 0.0], [0.0, 0.0]],
        "y": [[0.0, 0.25], [1.0, 0.0], [0.0, -2.0]],
    }
    kept = weights.keep([2, 0])
    assert torch.equal(kept.everywhere, weights.everywhere[[2, 0]])
    assert kept.by_module["y"].tolist() == [[0.0, -2.0], [0.0, 0.25]]


def test_what_adds_nothing_is_left_out() -> None:
    assert without_zeros({"a": 0, "b": {"x": 0.0, "y": 1}, "c": {"x": 0.0}, "d": 2, "e": {}}) == {
        "b": {"x": 0.0, "y": 1},
        "d": 2.0,
    }

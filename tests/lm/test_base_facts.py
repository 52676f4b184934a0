"""A base's sizes, read without loading it."""

import json
from pathlib import Path

import pytest

from medley.errors import BaseModelError
from medley.lm.base_facts import BUNDLED_FACTS, LinearSizes, read_base_facts


def test_the_tiny_base(tiny_base: Path) -> None:
    facts = read_base_facts(tiny_base)
    assert (facts.layers, facts.hidden, facts.intermediate, facts.vocab) == (2, 32, 64, 384)
    assert (facts.heads, facts.kv_heads, facts.head_dim) == (4, 2, 8)
    assert facts.linears == {
        "q_proj": LinearSizes(2, 32, 32),
        "k_proj": LinearSizes(2, 32, 16),
        "v_proj": LinearSizes(2, 32, 16),
        "o_proj": LinearSizes(2, 32, 32),
        "gate_proj": LinearSizes(2, 32, 64, is_feed_forward=True),
        "up_proj": LinearSizes(2, 32, 64, is_feed_forward=True),
        "down_proj": LinearSizes(2, 64, 32, is_feed_forward=True),
    }
    assert facts.linear_parameters == 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    norms = 2 * 2 * 32 + 32
    assert facts.parameters == facts.linear_parameters + 384 * 32 + norms  # tied: the output layer is the embedding


def test_a_config_without_sizes_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, "num_attention_heads": 2}))
    with pytest.raises(BaseModelError) as caught:
        read_base_facts(tmp_path)
    assert str(caught.value) == ("The base's config.json has no num_hidden_layers, so its size in memory is not known.")


@pytest.mark.bundled
def test_what_is_known_of_the_bundled_base_before_it_is_unpacked(bundled_base: Path) -> None:
    assert read_base_facts(bundled_base) == BUNDLED_FACTS

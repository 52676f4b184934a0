"""The size of an adapter, known before there is one: the number of entries that peft really makes."""

from pathlib import Path
from typing import Any

import pytest

from medley.lm.base_facts import read_base_facts
from trainers import SFTOptions
from trainers.adapter_sizes import adapter_parameters


@pytest.fixture(scope="module")
def tiny_model(tiny_base: Path) -> Any:
    from medley.lm.load import load_base

    return load_base(tiny_base, device="cpu").model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"targets": ("q_proj", "down_proj"), "rank": 3},
        {"layers": ("1",)},
        {"rank_pattern": ("q_proj=2", "up_proj=1")},
        {"init": "pissa", "rank": 4},
        {"adapter": "dora"},
        {"adapter": "ia3"},
        {"adapter": "prompt-tuning"},
        {"adapter": "prefix-tuning", "virtual_tokens": 7},
        {"adapter": "llama-adapter"},
    ],
    ids=str,
)
def test_as_many_entries_as_peft_makes(tiny_model: Any, tiny_base: Path, options: dict[str, Any]) -> None:
    import copy

    from peft import get_peft_model

    from trainers.adapter_configs import config_for

    chosen = SFTOptions(**options)
    peft_model = get_peft_model(copy.deepcopy(tiny_model), config_for(tiny_model, chosen))
    real = sum(part.numel() for part in peft_model.parameters() if part.requires_grad)
    assert adapter_parameters(read_base_facts(tiny_base), chosen) == real

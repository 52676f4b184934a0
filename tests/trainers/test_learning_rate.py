"""A learning rate that is far off is told, for every trainer, and none of our own presets is."""

from dataclasses import replace

import pytest

from medley.options import from_mapping
from trainers import TRAINERS
from trainers.learning_rate import rate_warning, usual_rate
from trainers.presets import PRESETS


@pytest.mark.parametrize(
    ("trainer", "rate", "sentence"),
    [
        ("sft", 1e-6, "learning_rate 1e-06 is far from the usual 0.0002 for sft: it may learn nothing."),
        ("sft", 2e-5, None),
        (
            "sft",
            2.1e-3,
            "learning_rate 0.0021 is far from the usual 0.0002 for sft: it may forget what the base knows.",
        ),
        ("dpo", 1e-6, "learning_rate 1e-06 is far from the usual 2e-05 for dpo: it may learn nothing."),
        ("dpo", 2e-4, None),
    ],
)
def test_a_rate_far_off_is_told(trainer: str, rate: float, sentence: str | None) -> None:
    options = from_mapping(TRAINERS[trainer].options_class, {"learning_rate": rate})
    assert rate_warning(trainer, options) == sentence


def test_another_kind_of_adapter_has_another_rate() -> None:
    options = replace(TRAINERS["sft"].options_class(), adapter="ia3", learning_rate=5e-3)
    assert usual_rate("sft", "ia3") == pytest.approx(5e-3)
    assert usual_rate("dpo", "ia3") == pytest.approx(5e-4)  # DPO wants a tenth of SFT's 2e-4
    assert rate_warning("sft", options) is None


@pytest.mark.parametrize("trainer", list(TRAINERS))
def test_no_default_and_no_preset_is_far_off(trainer: str) -> None:
    assert rate_warning(trainer, TRAINERS[trainer].options_class()) is None
    for preset in PRESETS.values():
        options = from_mapping(TRAINERS[trainer].options_class, preset.values.get(trainer, {}))
        assert rate_warning(trainer, options) is None

"""Options: ranges, words and types are checked once, for flags, forms and recipes alike."""

import pytest

from medley.errors import ParameterError, ProblemsError
from medley.options import describe, from_mapping
from trainers import PRESETS, TRAINERS, SFTOptions, preset


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ProblemsError) as caught:
        from_mapping(SFTOptions, {"rank": 0, "learning_rate": "fast", "epoch": 3, "quant": "8bit", "rslora": "yes"})
    assert str(caught.value).splitlines() == [
        "5 problems in the options:",
        "  rank must be in [1, 1024], got 0.",
        "  learning_rate must be a number, got 'fast'.",
        "  There is no option 'epoch'. Did you mean 'epochs'?",
        "  quant must be one of none, 4bit, got 8bit.",
        "  rslora must be true or false, got 'yes'.",
    ]


def test_a_single_problem_is_one_sentence() -> None:
    with pytest.raises(ProblemsError, match=r"^dropout must be in \[0, 0.9\], got 1.5\.$"):
        from_mapping(SFTOptions, {"dropout": 1.5})


def test_yaml_words_that_are_numbers_are_numbers() -> None:
    assert from_mapping(SFTOptions, {"learning_rate": "1e-4"}).learning_rate == 1e-4
    assert from_mapping(SFTOptions, {"epochs": 2}).epochs == 2.0
    assert from_mapping(SFTOptions, {"targets": ["q_proj"]}).targets == ("q_proj",)
    assert from_mapping(SFTOptions, {"alpha": None}).alpha is None


def test_not_a_number_is_no_number() -> None:
    with pytest.raises(ProblemsError, match="learning_rate must be in"):
        from_mapping(SFTOptions, {"learning_rate": float("nan")})


def test_every_option_has_a_sentence_and_an_acceptable_default() -> None:
    for each in describe(SFTOptions):
        assert each.help.endswith("."), each.name
    defaults = SFTOptions()
    assert from_mapping(SFTOptions, {each.name: each.default for each in describe(SFTOptions)}) == defaults


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_say_where_they_come_from(name: str) -> None:
    assert PRESETS[name].summary
    for trainer, row in TRAINERS.items():
        from_mapping(row.options_class, preset(name, trainer))
        assert PRESETS[name].sources[trainer]


def test_unknown_preset() -> None:
    with pytest.raises(ParameterError, match=r"There is no preset 'best'\. Choose quick, balanced, thorough\."):
        preset("best", "sft")

"""Options: ranges, words and types are checked once, for flags, forms and recipes alike."""

import pytest

from medley.errors import ParameterError, ProblemsError
from medley.options import describe, from_mapping, split_words
from trainers import PRESETS, TRAINERS, SFTOptions, preset
from trainers.adapter_kinds import ADAPTER_KINDS, parse_alphas, parse_layers, parse_ranks, with_rate


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


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        (
            {"adapter": "ia3", "rank": 8, "virtual_tokens": 5},
            [
                "rank does not apply to ia3 adapters, which are shaped by targets. Leave it out.",
                "virtual_tokens does not apply to ia3 adapters, which are shaped by targets. Leave it out.",
            ],
        ),
        (
            {"adapter_len": 4},
            [
                "adapter_len does not apply to lora adapters, which are shaped by rank, alpha, dropout, targets, "
                "rslora, init, layers, rank_pattern, alpha_pattern. Leave it out."
            ],
        ),
        (
            {"adapter": "dora", "init": "pissa", "weight_decay": 0.1},
            [
                "init pissa starts plain LoRA only. Take adapter lora, or another init.",
                "init pissa holds a copy of its start, which weight_decay 0.1 would shrink. Set weight_decay to 0.",
            ],
        ),
        ({"init": "orthogonal", "rank": 5}, ["init orthogonal needs an even rank, got 5."]),
        (
            {"adapter": "prefix-tuning", "gradient_checkpointing": True},
            ["prefix-tuning keeps a cache, which gradient_checkpointing would drop. Switch one of them off."],
        ),
        ({"layers": ["3-1"]}, ["layers must be numbers or ranges such as 0-7, got '3-1'."]),
        ({"rank_pattern": ["q_proj"]}, ["rank_pattern must be written like q_proj=8, got 'q_proj'."]),
        ({"rank_pattern": ["q_proj=0"]}, ["rank_pattern must hold whole numbers in [1, 1024], got '0'."]),
        ({"alpha_pattern": ["q_proj=0.0"]}, ["alpha_pattern must hold numbers above 0, got '0.0'."]),
    ],
)
def test_options_that_contradict_each_other_are_refused_together(
    values: dict[str, object], problems: list[str]
) -> None:
    with pytest.raises(ProblemsError) as caught:
        from_mapping(SFTOptions, values)
    assert list(caught.value.problems) == problems


GROUPS = (
    "A step of 16 answers (batch_size times gradient_accumulation) does not hold whole groups of 7. "
    "Make it a multiple of num_generations."
)
SMOOTHING = (
    "label_smoothing has no effect on the loss ipo. Leave it empty, or choose one of robust, exo_pair, aot, "
    "aot_unpaired."
)
PARTS = "A batch of 9 answers cannot be parted into 4 equal mini-batches. Choose mini_batches that divide batch_size."
STAYS_ZERO = "kl_adaptive multiplies kl_coef, so that 0 stays 0. Give it a start above 0, such as 0.05."
NO_EVA = "init must be one of default, gaussian, orthogonal, pissa, olora, got eva."


@pytest.mark.parametrize(
    ("trainer", "values", "problem"),
    [
        ("grpo", {"num_generations": 7}, GROUPS),
        ("dpo", {"loss": "ipo", "label_smoothing": 0.1}, SMOOTHING),
        ("ppo", {"batch_size": 9, "mini_batches": 4}, PARTS),
        ("ppo", {"kl_adaptive": True, "kl_coef": 0.0}, STAYS_ZERO),
        *((name, {"init": "eva"}, NO_EVA) for name in ("reward", "dpo", "kto", "grpo")),
    ],
)
def test_what_a_trainer_cannot_do_is_refused_with_its_options(
    trainer: str, values: dict[str, object], problem: str
) -> None:
    with pytest.raises(ProblemsError) as caught:
        from_mapping(TRAINERS[trainer].options_class, values)
    assert list(caught.value.problems) == [problem]


def test_layers_and_patterns_are_read() -> None:
    assert parse_layers(("0-2", "5", "1")) == [0, 1, 2, 5]
    assert parse_layers(None) is None
    assert parse_ranks(("q_proj=8", "layers.0.mlp.up_proj = 4")) == {"q_proj": 8, "layers.0.mlp.up_proj": 4}
    assert parse_alphas(("q_proj=1.5",)) == {"q_proj": 1.5}


@pytest.mark.parametrize("adapter", ADAPTER_KINDS)
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fits_every_kind_of_adapter(name: str, adapter: str) -> None:
    options = from_mapping(SFTOptions, {"adapter": adapter, **preset(name, "sft", adapter)})
    is_lora = adapter in ("lora", "dora")
    if not is_lora:  # what a preset says of rates is meant for LoRA
        assert with_rate(options).learning_rate == ADAPTER_KINDS[adapter].learning_rate


def test_a_comma_inside_brackets_belongs_to_its_word() -> None:
    assert split_words("sentiment=0.7, matches:a{1,2}(b|c), rm:v2") == ("sentiment=0.7", "matches:a{1,2}(b|c)", "rm:v2")
    assert split_words(" , ") == ()

"""The table of reward functions, and how a weighted sum of them is written in options."""

import pytest

from medley.errors import ParameterError
from trainers.reward_words import RewardTerm, adapters_in, parse_rewards, with_adapters
from trainers.rewards import REWARDS, brevity, ends_as_sentence, is_json, length, no_repetition, sentiment


def test_values_worked_by_hand() -> None:
    assert brevity("") == 1.0
    assert brevity("five words in this answer") == 0.9  # 1 - 5/50
    assert length("five words in this answer") == 0.1
    assert (brevity("word " * 60), length("word " * 60)) == (0.0, 1.0)
    assert no_repetition("a b a b") == pytest.approx(2 / 3)  # pairs: ab, ba, ab
    assert no_repetition("alone") == 1.0
    assert (is_json('{"a": 1}'), is_json("[]"), is_json("3"), is_json("{a}")) == (1.0, 1.0, 0.0, 0.0)
    assert (ends_as_sentence('He said "yes." '), ends_as_sentence("and then")) == (1.0, 0.0)
    assert sentiment("What a wonderful, happy day!") > 0.7
    assert sentiment("This is terrible and sad.") < -0.5


@pytest.mark.parametrize("name", REWARDS)
def test_every_function_stays_in_its_range(name: str) -> None:
    function = REWARDS[name]
    answers = ["", "Yes, great!", "bad " * 80, '{"a": [1]}', "One. Two! Three?"]
    values = function.make(function.example)(["q"] * len(answers), answers)
    assert all(function.low <= value <= function.high for value in values)
    assert len(set(values)) > 1, "a reward that is the same for everything teaches nothing"


def test_words_become_terms() -> None:
    words = ["sentiment=0.7", "rm:v2=-0.5", "sha256:0123abcd", "matches:^a=b$", r"matches:\d=2"]
    assert parse_rewards(words) == [
        RewardTerm("sentiment", "", 0.7),
        RewardTerm("rm:v2", "", -0.5),
        RewardTerm("sha256:0123abcd", "", 1.0),
        RewardTerm("matches", "^a=b$", 1.0),
        RewardTerm("matches", r"\d", 2.0),
    ]
    assert adapters_in(words) == ("rm:v2", "sha256:0123abcd")
    assert with_adapters(words[:2], {"rm:v2": "sha256:ff"}) == ("sentiment=0.7", "sha256:ff=-0.5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "A reward is needed: one or more of sentiment, brevity, length, no-repetition, json, sentence, matches, "
             "or a reward adapter's name."),
        (["=1"], "The reward '=1' has no name. Write it like sentiment=0.7."),
        (["brevity=0"], "The reward 'brevity=0' has the weight 0. Leave it out, or give it another weight."),
        (["matches"], "The reward matches needs a regular expression. Write it like matches:^Yes."),
        (["json:x"], "The reward json takes nothing behind a colon, got 'x'."),
    ],
)  # fmt: skip
def test_words_that_mean_nothing(words: list[str], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_rewards(words)
    assert str(caught.value) == message


def test_a_pattern_that_does_not_compile_is_told() -> None:
    with pytest.raises(ParameterError, match=r"^The pattern '\(' is not a regular expression"):
        parse_rewards(["matches:("])

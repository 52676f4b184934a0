"""Patterns are resolved as peft does, and no pattern can stop the program."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medley.errors import AdapterFormatError
from medley.lm.adapter_file import open_adapter
from medley.lm.module_patterns import has_nested_quantifier, match_names, resolve_patterns
from tests.lm.adapter_writing import write_adapter

NAMES = [f"model.layers.{layer}.{part}" for layer in (0, 1, 11) for part in ("attn.q_proj", "attn.k_proj", "mlp.up")]
WORDS = st.sampled_from(
    ["model", "layers", "0", "1", "11", "attn", "q_proj", "q.proj", "k_proj", "mlp", "up", "proj", ".up"]
)


def as_peft(patterns: dict[str, int], name: str, default: int) -> int:
    """peft's own rule, spelled out."""
    key = next((key for key in patterns if re.match(rf"(.*\.)?({key})$", name)), name)
    return patterns.get(key, default)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(WORDS, min_size=1, max_size=4).map(".".join), max_size=6, unique=True))
def test_plain_keys_are_resolved_as_peft_does(keys: list[str]) -> None:
    patterns = {key: index + 1 for index, key in enumerate(keys)}
    assert resolve_patterns(patterns, NAMES, 0, "rank_pattern") == {name: as_peft(patterns, name, 0) for name in NAMES}


@pytest.mark.parametrize(
    "patterns",
    [
        {r"layers\.1\..*": 1, "q_proj": 2},
        {"q_proj": 2, r"layers\.1\..*": 1},
        {r"^model\.layers\.1": 5, r"^model\.layers\.(0|11)\.mlp\.up$": 6, "model.layers.1.attn.k_proj": 7},
        {"[qk]_proj": 1, ".*": 2},
        {"attn": 3, "attn.q_proj": 4},
    ],
)
def test_expressions_are_resolved_as_peft_does(patterns: dict[str, int]) -> None:
    resolved = resolve_patterns(patterns, NAMES, 0, "rank_pattern")
    assert resolved == {name: as_peft(patterns, name, 0) for name in NAMES}


def test_a_key_for_every_expert_is_resolved_in_one_pass() -> None:
    names = [f"model.layers.{layer}.experts.{expert}.up" for layer in range(48) for expert in range(256)]
    patterns = {name: index for index, name in enumerate(names)}
    assert resolve_patterns(patterns, names, -1, "rank_pattern") == patterns


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a*)*", "((ab)+c)*", "([a-z]+)*", "(a{1,5})+", "(x(y*)z){2,}", "((a+))+"]
)
def test_a_repeated_repetition_is_seen(pattern: str) -> None:
    assert has_nested_quantifier(pattern)
    with pytest.raises(ValueError, match="repeats a repetition and could run for ever"):
        match_names([pattern], ["aaaa"])


@pytest.mark.parametrize(
    "pattern",
    [
        r".*\.(q_proj|v_proj)",
        r"(.*\.)?q_proj",
        r"[(a+)]+",
        r"\(a+\)+",
        r"[]a+)]+",
        r"^(?!.*visual).*(?:q|k|v)_proj.*",
        r"(?:.*?(?:language|text).*?(?:attn|mlp).*?(?:q_proj|up).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:attn)\.(?:q_proj))",
        "a)+",
    ],
)
def test_what_trainers_write_is_not_taken_for_one(pattern: str) -> None:
    assert not has_nested_quantifier(pattern)


@pytest.mark.parametrize("pattern", ["(a|a)*b", "(?:a|aa)*b", ".*.*.*.*.*.*.*.*.*.*b", "(?:[a-c]|[a-c])*"])
def test_what_only_time_can_tell_is_stopped(pattern: str) -> None:
    with pytest.raises(ValueError, match="needs more than a second to match the modules"):
        match_names([pattern], ["a" * 120 + "c"])


@pytest.mark.parametrize("pattern", ["(a", "a)", "[", "*a", "(?P<n>a", "a{99999999999}", "(" * 500 + ")" * 500])
def test_what_does_not_compile(pattern: str) -> None:
    with pytest.raises(ValueError, match="does not compile"):
        match_names([pattern], ["a"])


def test_a_key_that_breaks_out_of_pefts_brackets() -> None:
    with pytest.raises(ValueError, match=r"^in rank_pattern, the regular expression 'a\)\|\(b' does not compile\.$"):
        resolve_patterns({"a)|(b": 1}, ["a"], 0, "rank_pattern")


def test_too_many_and_too_long() -> None:
    with pytest.raises(ValueError, match="there are 257 regular expressions; at most 256"):
        match_names(["a+"] * 257, [])
    with pytest.raises(ValueError, match="longer than 4,000 characters"):
        match_names(["a" * 4001], [])


@pytest.mark.parametrize(
    ("targets", "part"),
    [
        ("(a+)+$", "repeats a repetition and could run for ever."),
        (".*", "matches more than the modules in the file, for example 'model'."),
        (r".*self_attn.*", "matches more than the modules in the file, for example 'model.layers.0.self_attn'."),
        ("q_proj", "'q_proj' does not match 'model.layers.0.self_attn.q_proj'."),
        (r".*k_proj", "does not match 'model.layers.0.self_attn.q_proj'."),
        ("(q_proj", "does not compile."),
        (["k_proj"], "target_modules does not name 'model.layers.0.self_attn.q_proj', which has weights"),
        (["j_proj", "proj"], "target_modules does not name 'model.layers.0.self_attn.q_proj'"),
    ],
)
def test_target_modules_that_mean_something_else(tmp_path: Path, targets: str | list[str], part: str) -> None:
    with pytest.raises(AdapterFormatError) as caught:
        open_adapter(write_adapter(tmp_path / "pirate", target_modules=targets))
    assert str(caught.value).startswith("'pirate/adapter_config.json': ")
    assert part in str(caught.value)


@pytest.mark.parametrize("targets", [r".*\.q_proj", "all-linear", None, ["self_attn.q_proj"], ["q_proj", "k_proj"]])
def test_target_modules_that_mean_the_file(tmp_path: Path, targets: str | list[str] | None) -> None:
    adapter = open_adapter(write_adapter(tmp_path / "pirate", target_modules=targets))
    assert list(adapter.modules) == ["model.layers.0.self_attn.q_proj"]


def test_excluded_modules_must_not_have_weights(tmp_path: Path) -> None:
    for excluded, part in {
        r".*q_proj": ": exclude_modules matches 'model.layers.0.self_attn.q_proj', which has weights.",
        "(a+)+$": ": in exclude_modules, the regular expression '(a+)+$' repeats a repetition",
    }.items():
        with pytest.raises(AdapterFormatError) as caught:
            open_adapter(write_adapter(tmp_path / "pirate", exclude_modules=excluded))
        assert str(caught.value).startswith(f"'pirate/adapter_config.json'{part}")
    assert open_adapter(write_adapter(tmp_path / "pirate", exclude_modules=r".*lm_head")).modules


def test_an_expression_that_peft_saved(make_adapter: Callable[..., Path]) -> None:
    adapter = open_adapter(make_adapter("regex", target_modules=r"model\.layers\.\d+\.self_attn\.(q|v)_proj"))
    assert isinstance(adapter.config.target_modules, str)
    assert len(adapter.modules) == 4


def test_a_pattern_that_could_run_for_ever_is_refused_on_opening(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "pirate", rank_pattern={"(a+)+$": 4})
    with pytest.raises(AdapterFormatError, match=r"^'pirate/adapter_config.json': in rank_pattern, the regular"):
        open_adapter(folder)

"""adapter_config.json decides what peft imports and how weights are scaled, so each bad value is its own refusal."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from medley.errors import AdapterFormatError, ProblemsError, UserError
from medley.lm.adapter_file import open_adapter, read_config
from tests.lm.adapter_writing import config_dict, write_adapter, write_config


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_adapter(folder)
    assert isinstance(caught.value, (AdapterFormatError, ProblemsError))
    return str(caught.value)


RANK = "must be a whole number in [1, 16384]"
ALPHA = "must be a number in (0, 1e+06]"
IMPORTS = "must be null, because it makes peft import code"
PATH = "must not name a file or a folder"


@pytest.mark.parametrize(
    ("key", "value", "wish"),
    [
        *[("r", value, RANK) for value in (-1, 0, 10**12, "16", True, 4.0, [4])],
        *[("lora_alpha", value, ALPHA) for value in (0, -8, 1e300, 10**4000, "8", False)],
        ("lora_dropout", 1.5, "must be a number in [0, 1]"),
        ("rank_pattern", {"q_proj": 0}, f"holds a value that {RANK}"),
        ("rank_pattern", {"": 4}, "must map module names to numbers"),
        ("rank_pattern", ["q_proj"], "must map module names to numbers"),
        ("alpha_pattern", {"q_proj": "8"}, f"holds a value that {ALPHA}"),
        ("use_rslora", 1, "must be true or false"),
        ("use_dora", "yes", "must be true or false"),
        ("bias", "some", "must be one of none, all, lora_only"),
        ("task_type", "REWARD", "must be one of CAUSAL_LM,"),
        ("task_type", ["CAUSAL_LM"], "must be one of CAUSAL_LM,"),
        ("target_modules", [1], "must be a list of module names"),
        ("target_modules", {"q_proj": 1}, "must be a list of module names"),
        ("target_modules", "", "must be module names or one regular expression"),
        ("modules_to_save", ["(a+)+$"], "must be a list of module names"),
        ("modules_to_save", "lm_head", "must be a list of module names"),
        ("layers_pattern", "(a+)+$", "must be a list of module names"),
        ("base_model_name_or_path", ["a"], "must be text of at most 4,096 printable characters"),
        ("base_model_name_or_path", "a\nb", "must be text of at most 4,096 printable characters"),
        ("base_model_name_or_path", "a" * 5000, "must be text of at most 4,096 printable characters"),
        ("revision", "../main", "must be a branch, tag or commit"),
        ("revision", "/etc", "must be a branch, tag or commit"),
        ("some_size", 10**4000, "is not a key that Medley knows"),
        ("revision", 1, "must be a branch, tag or commit"),
        ("auto_mapping", {"parent_library": "os", "base_model_class": "system"}, IMPORTS),
        ("auto_map", {"AutoModel": "modeling.Evil"}, IMPORTS),
        ("megatron_config", {"a": 1}, IMPORTS),
        ("megatron_core", "os", 'must be null or "megatron.core", because it makes peft import code'),
        ("loftq_config", {"path": "/etc/passwd"}, PATH),
        ("corda_config", {"cache_file": "../x"}, PATH),
        ("eva_config", {"a": [{"b": "~root"}]}, PATH),
        ("init_lora_weights", "a/b", "must be one word without slashes"),
        ("_attn_implementation", "org/kernel", "is not a key that Medley knows and must be null or false"),
        ("custom_pipeline", "x", "is not a key that Medley knows and must be null or false"),
        ("use_something_new", True, "is not a key that Medley knows and must be null or false"),
    ],
)
def test_a_bad_value(tmp_path: Path, key: str, value: Any, wish: str) -> None:
    message = refusal(write_adapter(tmp_path / "pirate", **{key: value}))
    assert message.startswith(f"'pirate/adapter_config.json': '{key}' {wish}")
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("kind", "shown"), [("KLORA", "is 'KLORA'"), (["LORA"], "is ['LORA']"), (None, "is missing"), (3, "is 3")]
)
def test_an_unknown_kind(tmp_path: Path, kind: Any, shown: str) -> None:
    message = refusal(write_adapter(tmp_path / "pirate", peft_type=kind))
    assert message.startswith(f"'pirate/adapter_config.json': peft_type {shown}; it must be one of LORA, IA3,")


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "pirate", r=-1, lora_alpha="x", auto_mapping={"a": 1})
    assert refusal(folder).splitlines() == [
        "3 problems in 'pirate/adapter_config.json':",
        f"  'r' {RANK}, got -1.",
        f"  'lora_alpha' {ALPHA}, got 'x'.",
        f"  'auto_mapping' {IMPORTS}, got {{'a': 1}}.",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is not acceptable JSON"),
        ("weights", "is not acceptable JSON"),
        ('{"peft_type": "LORA", "r": 4, "r": 8}', "the key 'r' appears twice"),
        ('{"peft_type": "LORA", "r": 4, "lora_alpha": NaN}', "NaN is not a number"),
        ('{"peft_type": "LORA", "r": 4, "lora_alpha": 1e999}', "a number is too large"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "nested"),
        ("[" * 100_000, "nested"),
        ("[]", "must hold a JSON object, found list"),
    ],
)
def test_what_is_not_json(tmp_path: Path, text: str, part: str) -> None:
    write_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text(text)
    message = refusal(tmp_path)
    assert part in message
    assert "\n" not in message


def test_a_config_of_100_mb(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    with path.open("r+b") as file:
        file.truncate(100 * 1024 * 1024)
    with pytest.raises(AdapterFormatError, match=r"is larger than 16,777,216 bytes\.$"):
        read_config(tmp_path)


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "adapter_config.json")
    with pytest.raises(AdapterFormatError, match="is not a regular file"):
        read_config(tmp_path)


def test_what_peft_writes_by_default_is_accepted(tmp_path: Path) -> None:
    from peft import LoraConfig

    LoraConfig(r=4, target_modules=["q_proj"]).save_pretrained(tmp_path)
    config = read_config(tmp_path)
    assert (config.r, config.lora_alpha, config.target_modules, config.unknown_keys) == (4, 8.0, ("q_proj",), ())
    assert config.raw["megatron_core"] == "megatron.core"


@pytest.mark.parametrize(
    ("name", "settings", "kind"),
    [
        ("LoraConfig", {"use_dora": True}, "dora"),
        ("LoraConfig", {"init_lora_weights": "orthogonal", "layers_to_transform": [0, 1]}, "lora"),
        ("IA3Config", {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}, "ia3"),
        ("PrefixTuningConfig", {"num_virtual_tokens": 20, "init_weights": "zero"}, "prefix-tuning"),
        ("PromptTuningConfig", {"num_virtual_tokens": 20, "prompt_tuning_init": "SAMPLE_VOCAB"}, "prompt-tuning"),
        ("PromptEncoderConfig", {"num_virtual_tokens": 20, "encoder_hidden_size": 16}, "p-tuning"),
        ("AdaptionPromptConfig", {"adapter_len": 10, "adapter_layers": 30}, "llama-adapter"),
        ("LNTuningConfig", {}, "ln-tuning"),
        ("LoHaConfig", {"rank_pattern": {"q_proj": 2}}, "loha"),
        ("LoKrConfig", {"decompose_factor": 4, "decompose_both": True}, "lokr"),
        ("AdaLoraConfig", {"total_step": 10, "rank_pattern": {"q_proj.lora_E": [True, False]}}, "adalora"),
        ("VeraConfig", {"save_projection": False}, "vera"),
        ("OFTConfig", {"oft_block_size": 8, "r": 0}, "oft"),
    ],
)
def test_what_peft_writes_of_every_kind_is_accepted(
    tmp_path: Path, name: str, settings: dict[str, Any], kind: str
) -> None:
    import peft

    getattr(peft, name)(task_type="CAUSAL_LM", **settings).save_pretrained(tmp_path)
    config = read_config(tmp_path)
    assert (config.kind, config.unknown_keys) == (kind, ())


def test_the_rank_pattern_of_an_adalora_is_a_choice(tmp_path: Path) -> None:
    config = {"peft_type": "ADALORA", "rank_pattern": {"q_proj.lora_E": [True, 1]}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    wish = "must map module names to lists of true and false, got {'q_proj.lora_E': [True, 1]}."
    assert refusal(tmp_path).endswith(f"'rank_pattern' {wish}")


def test_keys_of_another_version_are_kept_and_named(tmp_path: Path) -> None:
    write_config(tmp_path, merge_weights=False, enable_lora=None, group_size=16)
    assert read_config(tmp_path).unknown_keys == ("enable_lora", "group_size", "merge_weights")


def test_rank_is_required_and_alpha_is_pefts_default(tmp_path: Path) -> None:
    settings = config_dict()
    del settings["lora_alpha"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    assert read_config(tmp_path).lora_alpha == 8.0
    del settings["r"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(AdapterFormatError, match=r"r is missing\.$"):
        read_config(tmp_path)

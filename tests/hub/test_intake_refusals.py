"""Every kind of bad adapter: one typed sentence, nothing published, nothing left behind, no network, no hang."""

import json
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from hub import Registry
from hub.intake import import_adapter
from hub.side_files import card_data
from medley.errors import AdapterFormatError, ProblemsError, UserError
from tests.lm.adapter_writing import MODULE, header_of, safetensors_bytes, write_adapter, write_safetensors

A, B = f"base_model.model.{MODULE}.lora_A.weight", f"base_model.model.{MODULE}.lora_B.weight"
SHAPES = {A: (4, 8), B: (8, 4)}
NAN = bytes.fromhex("0000c07f")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> NoReturn:
        raise AssertionError(f"an import tried to reach {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def pirate(tmp_path: Path) -> Path:
    """A good adapter, for the test to spoil."""
    return write_adapter(tmp_path / "pirate")


@pytest.fixture
def refusal(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], str]]:
    """refusal(source) imports it and gives the message of the refusal."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def import_it(source: Path) -> str:
        with pytest.raises(UserError) as caught:
            import_adapter(registry, source, "pirate")
        assert isinstance(caught.value, (AdapterFormatError, ProblemsError))
        message = str(caught.value)
        assert "\n" not in message or isinstance(caught.value, ProblemsError)
        assert all(len(line) < 400 for line in message.splitlines())
        assert str(tmp_path) not in message
        return message

    yield import_it
    assert registry.list() == []
    assert [path for path in (registry.home / "store").rglob("*") if path.is_file() and path.name != "lock"] == []
    assert list(temporary.iterdir()) == []


def with_weights(folder: Path, data: bytes) -> Path:
    (folder / "adapter_model.safetensors").write_bytes(data)
    return folder


def good_weights(**changes: Any) -> bytes:
    return safetensors_bytes({**header_of(SHAPES), **changes})


ENTRY_B = header_of(SHAPES)[B]
ONE = json.dumps(ENTRY_B)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (pickle.dumps({"a": [1] * 50}), "is a pickle, not a safetensors file. Pickles are never opened."),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab", "is a Git LFS pointer, not the weights."),
        (b"PK\x03\x04" + bytes(100), "is a zip archive (PyTorch saves pickles so), not a safetensors file."),
        ((2**60).to_bytes(8, "little") + b"{}", "announces a header of 1,152,921,504,606,846,976 bytes"),
        ((101 * 2**20).to_bytes(8, "little") + b"{}", "announces a header of 105,906,176 bytes"),
        (b"{}", "it has only 2 bytes."),
        (b"", "it has only 0 bytes."),
        (good_weights(**{B: {**ENTRY_B, "data_offsets": [64, 192]}}), "overlaps the one before it."),
        (good_weights(**{B: {**ENTRY_B, "shape": [2**40, 2**40]}}), "has shape [1099511627776, 1099511627776]"),
        (good_weights() + b"#!/bin/sh\n", "10 bytes follow the last tensor."),
        (good_weights(**{B: {**ENTRY_B, "dtype": "F8_E4M3"}}), "has dtype F8_E4M3; an adapter has F32, F16 or BF16."),
        (good_weights(**{B: {**ENTRY_B, "dtype": "I64"}}), "has dtype I64"),
        (safetensors_bytes(f'{{"{B}": {ONE}, "{B}": {ONE}}}'.encode(), bytes(256)), "appears twice"),
        (good_weights()[:-4] + NAN, "lora_B.weight' holds NaN or Infinity."),
        (safetensors_bytes(header_of({A: (3, 8), B: (8, 3)})), "but the configuration says rank 4."),
        (safetensors_bytes(header_of({A: (4, 8)})), "has no 'lora_B.weight' beside it."),
        (safetensors_bytes(header_of({"base_model.model.x.weight": (4, 8)})), "holds no LoRA weights"),
    ],
)
def test_weights(refusal: Callable[[Path], str], pirate: Path, data: bytes, part: str) -> None:
    message = refusal(with_weights(pirate, data))
    assert part in message
    assert message.startswith(("'pirate/adapter_model.safetensors'", "the header of 'pirate/"))


def test_200_000_tensors(refusal: Callable[[Path], str], pirate: Path) -> None:
    header = {f"t{index}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for index in range(200_000)}
    assert "holds 200,000 tensors" in refusal(with_weights(pirate, safetensors_bytes(header, b"")))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"peft_type": "EVIL"}, "peft_type is 'EVIL'; it must be one of LORA,"),
        ({"peft_type": ["LORA"]}, "peft_type is ['LORA']"),
        ({"peft_type": None}, "peft_type is missing"),
        *[({"r": r}, "'r' must be a whole number in [1, 16384]") for r in (-1, 0, 10**12, "16")],
        ({"target_modules": "(a+)+$"}, "repeats a repetition and could run for ever."),
        ({"target_modules": "(a|a)*" * 20 + "x"}, "target_modules"),
        ({"target_modules": ".*"}, "matches more than the modules in the file"),
        ({"auto_mapping": {"parent_library": "os"}}, "'auto_mapping' must be null"),
        ({"megatron_core": "os"}, "'megatron_core' must be null"),
        ({"megatron_config": {}}, "'megatron_config' must be null"),
        ({"auto_map": {"AutoConfig": "x.Y"}}, "'auto_map' must be null"),
        ({"base_model_name_or_path": "/etc"}, "which is not a Hub id, and such a path is never followed."),
        ({"loftq_config": {"x": "../../x"}}, "'loftq_config' must not name a file or a folder"),
    ],
)
def test_config(refusal: Callable[[Path], str], tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    assert part in refusal(write_adapter(tmp_path / "pirate", **changes))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"not json", "is not acceptable JSON"),
        (b'{"r":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested"),
        (b'{"peft_type": "LORA", "r": NaN}', "NaN is not a number"),
        (b'{"peft_type": "LORA", "r": 4, "r": 4}', "the key 'r' appears twice"),
    ],
)
def test_config_text(refusal: Callable[[Path], str], pirate: Path, text: bytes, part: str) -> None:
    (pirate / "adapter_config.json").write_bytes(text)
    assert part in refusal(pirate)


def test_a_config_of_100_mb(refusal: Callable[[Path], str], pirate: Path) -> None:
    with (pirate / "adapter_config.json").open("r+b") as file:
        file.truncate(100 * 2**20)
    assert "'adapter_config.json' has 104,857,600 bytes; at most 16,777,216 are accepted." in refusal(pirate)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("modeling_evil.py", "is code, which an adapter does not need. Remove it."),
        ("setup.SH", "is code"),
        ("weights.pkl", "is a pickle and is never opened. Save the weights as adapter_model.safetensors."),
        ("pytorch_model.bin", "is a pickle"),
        ("config.json", "is not part of an adapter. Remove it or leave it out."),
        ("model.safetensors", "is not part of an adapter."),
        ("sub/adapter_model.safetensors", "is not part of an adapter."),
        ("readme.md", "is not part of an adapter."),
        ("LICENSE‮txt", "is not part of an adapter."),
        ("README.md\n", "is not part of an adapter."),
    ],
)
def test_other_files(refusal: Callable[[Path], str], pirate: Path, name: str, reason: str) -> None:
    (pirate / name).parent.mkdir(exist_ok=True)
    (pirate / name).write_bytes(b"x")
    assert refusal(pirate).startswith(f"'pirate' cannot be imported: {name.split('/')[0]!a}"[:-1])
    assert reason in refusal(pirate)


def test_names_that_differ_in_case_only(refusal: Callable[[Path], str], pirate: Path) -> None:
    (pirate / "LICENSE.md").write_bytes(b"x")
    (pirate / "LICENSE.MD").write_bytes(b"x")
    assert "'LICENSE.MD' and 'LICENSE.md' differ in case only." in refusal(pirate)


def test_pickled_weights_alone(refusal: Callable[[Path], str], pirate: Path) -> None:
    (pirate / "adapter_model.safetensors").rename(pirate / "adapter_model.bin")
    assert "'adapter_model.bin' is a pickle and is never opened." in refusal(pirate)


def test_an_empty_folder_and_half_an_adapter(refusal: Callable[[Path], str], pirate: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == (
        "'empty' is not an adapter: adapter_config.json and adapter_model.safetensors missing."
    )
    (pirate / "adapter_config.json").unlink()
    assert refusal(pirate) == "'pirate' is not an adapter: adapter_config.json missing."


def test_links_pipes_and_sockets(refusal: Callable[[Path], str], pirate: Path) -> None:
    (pirate / "README.md").symlink_to("/etc/passwd")
    assert "'README.md' is a symbolic link." in refusal(pirate)
    (pirate / "README.md").unlink()
    (pirate / "LICENSE").symlink_to("adapter_config.json")  # even one that stays inside
    assert "'LICENSE' is a symbolic link." in refusal(pirate)
    (pirate / "LICENSE").unlink()
    os.mkfifo(pirate / "README.md")
    assert "'README.md' is a pipe, a socket or a device, not a file." in refusal(pirate)
    (pirate / "README.md").unlink()
    (pirate / "tokenizer.json").mkdir()
    assert "'tokenizer.json/' is not part of an adapter." in refusal(pirate)


def test_sources_that_are_no_folder_and_no_zip(refusal: Callable[[Path], str], pirate: Path, tmp_path: Path) -> None:
    for source in (pirate / "adapter_config.json", Path("/dev/zero")):
        assert refusal(source) == f"'{source.name}' is neither a folder nor a zip archive."
    os.mkfifo(tmp_path / "pipe.zip")
    assert refusal(tmp_path / "pipe.zip") == "'pipe.zip' is neither a folder nor a zip archive."


def test_a_folder_of_very_many_files(refusal: Callable[[Path], str], pirate: Path) -> None:
    for index in range(10_000):
        (pirate / f"checkpoint-{index}").touch()
    assert refusal(pirate) == "'pirate' holds more than 10,000 entries; not an adapter."


def test_all_problems_of_a_folder_are_told_together(refusal: Callable[[Path], str], pirate: Path) -> None:
    for index in range(12):
        (pirate / f"{index:02}.py").touch()
    lines = refusal(pirate).splitlines()
    assert lines[:2] == [
        "11 problems in 'pirate':",
        "  '00.py' is code, which an adapter does not need. Remove it.",
    ]
    assert lines[-1] == "  and 2 more."


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [
        ("chat_template.jinja", b" " * 5 * 2**20, "'chat_template.jinja' has 5,242,880 bytes; at most 131,072"),
        ("chat_template.jinja", b"\xff\xfe", "chat_template.jinja is not UTF-8 text."),
        ("README.md", b"#" * 5 * 2**20, "'README.md' has 5,242,880 bytes; at most 1,048,576"),
        ("README.md", b"---\na: &a [1]\nb: *a\n---\n", "The YAML of README.md uses aliases ('*a'); write it out."),
        (
            "README.md",
            b"---\na: !!python/object/apply:os.system ['x']\n---\n",
            "has the tag 'tag:yaml.org,2002:python/",
        ),
        ("README.md", b"---\na: !!binary aGk=\n---\n", "has the tag 'tag:yaml.org,2002:binary'"),
        ("README.md", b"---\n" + b"[" * 100 + b"]" * 100 + b"\n---\n", "is too deep or has too many parts."),
        ("README.md", b"---\n" + b"a: b\n" * 20_000 + b"---\n", "The YAML of README.md has more than 65,536 bytes."),
        ("README.md", b"---\na: [\n---\n", "The YAML of README.md cannot be read:"),
        ("README.md", b"---\na: 2024-13-45\n---\n", "The YAML of README.md cannot be read: ValueError."),
        ("README.md", b"---\n? [a]\n: b\n---\n", "The YAML of README.md cannot be read: found unhashable key, line 1."),
        ("README.md", b"---\n- a\n---\n", "The front matter of README.md must be a mapping, found list."),
        ("README.md", b"a\x00b", "README.md is not text: it holds NUL characters."),
        ("recipe.yaml", b"a: !!python/name:os.system ''\n", "The YAML of recipe.yaml has the tag"),
        (
            "tokenizer_config.json",
            b'{"auto_map": {"AutoTokenizer": ["x.Y", null]}}',
            "tokenizer_config.json has 'auto_map'",
        ),
        ("tokenizer_config.json", b'{"a": 1, "a": 2}', "the key 'a' appears twice"),
        ("tokenizer_config.json", b'{"chat_template": "%s"}' % (b"x" * 300_000), "has 300,000 bytes; at most 131,072"),
        ("special_tokens_map.json", b"[]", "must hold a JSON object, found list."),
        ("merge_report.json", b'{"a":' * 20_000, "nested"),
    ],
)
def test_text_files(refusal: Callable[[Path], str], pirate: Path, name: str, data: bytes, part: str) -> None:
    (pirate / name).write_bytes(data)
    assert part in refusal(pirate)


def test_an_alias_bomb(refusal: Callable[[Path], str], pirate: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    (pirate / "README.md").write_text("---\n" + "\n".join(lines) + "\n---\n")
    assert "uses aliases ('*a0')" in refusal(pirate)


def test_front_matter_ends_at_its_own_line() -> None:
    text = '---\nlicense: mit\ntitle: "a --- b"\n---\n\n---\nbase_model: /etc\n---\n'
    assert card_data(text) == {"license": "mit", "title": "a --- b"}
    assert card_data("# No front matter\n---\n") is None
    assert card_data("---\r\nlicense: mit\r\n---\r\n") == {"license": "mit"}
    assert card_data("---\n---\n") is None


def test_the_good_ones_would_pass(registry: Registry, pirate: Path) -> None:
    write_safetensors(pirate, SHAPES)
    assert import_adapter(registry, pirate, "pirate")[0].label == "pirate:v1"

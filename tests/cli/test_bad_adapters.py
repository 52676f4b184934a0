"""Adapters and names from elsewhere that are refused: one line, exit code 1, and nothing of them stays.

The many tricks are tested where they are caught (tests/hub, tests/lm); here one of each kind goes the whole way.
"""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Here, kept_in
from tests.lm.adapter_writing import header_of, safetensors_bytes, write_adapter


def spoil_weights(data: bytes) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        (folder / "adapter_model.safetensors").write_bytes(data)
        return folder

    return spoil


def spoil_config(text: bytes) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        (folder / "adapter_config.json").write_bytes(text)
        return folder

    return spoil


def with_file(name: str) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        (folder / name).write_bytes(b"x")
        return folder

    return spoil


def pickled_only(folder: Path) -> Path:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    return folder


def with_link(folder: Path) -> Path:
    (folder / "LICENSE").symlink_to("/etc/hostname")
    return folder


def zip_with(name: str) -> Callable[[Path], Path]:
    def pack(folder: Path) -> Path:
        path = folder.parent / "pirate.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, file.name)
            archive.writestr(name, b"escaped")
        return path

    return pack


def no_zip(folder: Path) -> Path:
    path = folder.parent / "pirate.zip"
    path.write_bytes(b"PK\x03\x04 and no more")
    return path


BAD = {
    "pickle": (spoil_weights(pickle.dumps({"a": 1})), "is a pickle, not a safetensors file"),
    "empty weights": (spoil_weights(b""), "it has only 0 bytes."),
    "huge header": (
        spoil_weights((2**60).to_bytes(8, "little") + b"{}"),
        "announces a header of 1,152,921,504,606,846,976 bytes",
    ),
    "no LoRA": (spoil_weights(safetensors_bytes(header_of({"x.weight": (4, 8)}))), "holds no LoRA weights"),
    "no JSON": (spoil_config(b"not json"), "is not acceptable JSON"),
    "unknown type": (spoil_config(b'{"peft_type": "EVIL", "r": 4}'), "peft_type is 'EVIL'; it must be one of LORA,"),
    "rank": (spoil_config(b'{"peft_type": "LORA", "r": -1}'), "'r' must be a whole number in [1, 16384]"),
    "code": (with_file("modeling_evil.py"), "is code, which an adapter does not need. Remove it."),
    "only a pickle": (pickled_only, "is a pickle and is never opened."),
    "link": (with_link, "LICENSE"),
    "zip that climbs": (zip_with("../escaped"), "escaped"),
    "zip in name only": (no_zip, "pirate.zip"),
    "nothing": (lambda folder: folder.parent / "nothing", "There is no file or folder"),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_adapter_that_is_refused(stocked: Path, here: Here, tmp_path: Path, kind: str) -> None:
    spoil, part = BAD[kind]
    source = spoil(write_adapter(tmp_path / "pirate"))
    before = kept_in(stocked)
    ended = here("adapter", "import", source, "--name", "pirate")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Error: ")
    assert part in ended.err
    assert "Traceback" not in ended.err
    first, *rest = ended.err.splitlines()
    assert rest == [] or (first.endswith(":") and all(line.startswith("  ") for line in rest))
    assert kept_in(stocked) == before
    assert not list(tmp_path.rglob("escaped"))


NAMES = [
    "../x",
    "/abs",
    "a/b",
    ".",
    "..",
    "",
    "x" * 300,
    "a\nb",
    "CON",
    "nul.txt",
    "x.",
    "a--b",
    "Pirate",
    "pi\u202erate",
]


@pytest.mark.parametrize("name", [*NAMES, "ｐirate", "é", "latest:", "sha256"], ids=ascii)
def test_a_name_that_cannot_be_used(stocked: Path, here: Here, tmp_path: Path, name: str) -> None:
    source = write_adapter(tmp_path / "pirate")
    before = kept_in(stocked)
    for command in (
        ("adapter", "import", source, "--name", name),
        ("merge", "--method", "linear", "left", "right", "--name", name),
        ("adapter", "alias", "left", name),
    ):
        if command[1] == "alias" and name == "sha256":
            continue  # only a name could be taken for the beginning of an id
        ended = here(*command)
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1), command
        assert ended.err.isascii()
    assert kept_in(stocked) == before


def test_a_path_in_the_config_is_never_followed(stocked: Path, here: Here, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "pirate", base_model_name_or_path="/etc")
    ended = here("adapter", "import", source, "--name", "pirate")
    assert ended.code == 1
    assert "which is not a Hub id, and such a path is never followed." in ended.err
    assert here("adapter", "import", source, "--name", "pirate", "--base", "tiny").code == 0

"""The weights file is somebody else's: whatever is in it, the reader answers with one sentence or the right header."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medley.errors import AdapterFormatError, ProblemsError, UserError
from medley.lm.adapter_file import TensorInfo, read_header
from tests.lm.adapter_writing import header_of, safetensors_bytes, write_safetensors

GOOD = {"a.lora_A.weight": (2, 3), "a.lora_B.weight": (3, 2)}


def entry(shape: list[Any], offsets: list[Any], dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def refusal(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "pirate" / "adapter_model.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_header(path)
    assert isinstance(caught.value, (AdapterFormatError, ProblemsError))
    return str(caught.value)


def test_a_good_header(tmp_path: Path) -> None:
    header = header_of(GOOD)
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(safetensors_bytes({"__metadata__": {"format": "pt"}, **header}))
    start = path.stat().st_size - 48
    assert read_header(path) == {
        "a.lora_A.weight": TensorInfo("a.lora_A.weight", "F32", (2, 3), start, start + 24),
        "a.lora_B.weight": TensorInfo("a.lora_B.weight", "F32", (3, 2), start + 24, start + 48),
    }


def test_agrees_with_the_safetensors_library(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator).bfloat16() for name, shape in GOOD.items()}
    path = tmp_path / "adapter_model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    data = path.read_bytes()
    for name, info in read_header(path).items():
        assert (info.dtype, info.shape) == ("BF16", GOOD[name])
        assert data[info.start : info.end] == tensors[name].view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("size", [0, 2, 9])
def test_a_file_of_a_few_bytes(tmp_path: Path, size: int) -> None:
    message = "'pirate/adapter_model.safetensors' is not a safetensors file: it has only"
    assert refusal(tmp_path, bytes(size)) == f"{message} {size} bytes."


@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 66_688, 0x7A0580])
def test_a_header_whose_length_looks_like_the_start_of_a_pickle(tmp_path: Path, length: int) -> None:
    """640 is 0x0280: the file then begins with 80 02, as a pickle of protocol 2 does."""
    text = json.dumps(header_of(GOOD)).encode().ljust(length)
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + text + bytes(48))
    assert path.read_bytes()[0] == 0x80
    assert set(read_header(path)) == set(GOOD)


def test_a_pickle_and_a_zip_under_the_wrong_name(tmp_path: Path) -> None:
    assert "is a pickle, not a safetensors file" in refusal(tmp_path, pickle.dumps({"weights": list(range(99))}))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps([1]))
    assert "is a zip archive" in refusal(tmp_path, archive.getvalue())


@pytest.mark.parametrize("length", [2**60, 2**64 - 1, 101 * 1024 * 1024, 16 * 1024 * 1024 + 1])
def test_a_header_that_is_too_long(tmp_path: Path, length: int) -> None:
    message = refusal(tmp_path, length.to_bytes(8, "little") + b"{}" * 8)
    assert f"announces a header of {length:,} bytes; at most 16,777,216 are accepted." in message


def test_a_header_of_101_mb_that_is_really_there(tmp_path: Path) -> None:
    length = 101 * 1024 * 1024
    path = tmp_path / "adapter_model.safetensors"
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little") + b"{")
        file.truncate(8 + length)
    with pytest.raises(AdapterFormatError, match="announces a header of 105,906,176 bytes"):
        read_header(path)


def test_a_header_that_does_not_fit_into_the_file(tmp_path: Path) -> None:
    assert "its header of 1,000 bytes does not fit" in refusal(tmp_path, (1000).to_bytes(8, "little") + b"{}" * 50)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"not json at all", "is not acceptable JSON: Expecting value"),
        (b'{"a": {"dtype"', "is not acceptable JSON"),
        (b"[1, 2, 3]", "must hold a JSON object, found list"),
        (b"\xff\xfe{}", "is not acceptable JSON: 'utf-8' codec"),
        (b'{"a": 1, "a": 2}', "is not acceptable JSON: the key 'a' appears twice"),
        (b'{"a": NaN}', "is not acceptable JSON: NaN is not a number"),
        (b'{"a": 1e999}', "is not acceptable JSON: a number is too large"),
        (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested"),
        (b'{"a":' + b"[" * 50 + b"]" * 50 + b"}", "nested deeper than 12 levels"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not acceptable JSON"),
        (b'{"__metadata__": {}}', "holds no tensors"),
        (b'{"__metadata__": {"a": 1}}', "must map text to text"),
    ],
)
def test_a_header_that_is_not_one(tmp_path: Path, text: bytes, part: str) -> None:
    message = refusal(tmp_path, safetensors_bytes(text, b"0123456789"))
    assert part in message
    assert "\n" not in message


def test_duplicate_tensors_which_the_library_accepts(tmp_path: Path) -> None:
    one = json.dumps(entry([1], [0, 4]))
    text = f'{{"a": {one}, "a": {one}}}'.encode()
    assert "the key 'a' appears twice" in refusal(tmp_path, safetensors_bytes(text, bytes(4)))


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ({"a": entry([1], [0, 1], "F8_E4M3")}, "has dtype F8_E4M3; an adapter has F32, F16 or BF16."),
        ({"a": entry([1], [0, 8], "I64")}, "has dtype I64"),
        ({"a": entry([1], [0, 4], ["F32"])}, "has dtype ['F32']"),
        ({"a": entry([0, 4], [0, 0])}, "has shape [0, 4]; sizes must be whole numbers above 0."),
        ({"a": entry([-1], [0, 4])}, "has shape [-1]"),
        ({"a": entry([True], [0, 4])}, "has shape [True]"),
        ({"a": entry([1.0], [0, 4])}, "has shape [1.0]"),
        ({"a": entry([2**40, 2**40], [0, 4])}, "has shape [1099511627776, 1099511627776]"),
        ({"a": entry([1], [0, 10**4000])}, "not a start and an end"),
        ({"a": entry([1] * 9, [0, 4])}, "has shape [1, 1, 1, 1, 1, 1, 1, 1, 1]"),
        ({"a": entry([1], [0, 4, 8])}, "not a start and an end"),
        ({"a": entry([1], [-4, 0])}, "not a start and an end"),
        ({"a": entry([3], [0, 8])}, "of F32 (3,) cannot fill 8 bytes."),
        ({"a": entry([1], [8, 4])}, "cannot fill -4 bytes."),
        ({"a": {"dtype": "F32", "shape": [1]}}, "needs exactly dtype, shape and data_offsets."),
        ({"a": [1]}, "needs exactly dtype, shape and data_offsets."),
        ({"../a": entry([1], [0, 4])}, "the tensor name '../a' is not one that peft writes."),
        ({"a\n": entry([1], [0, 4])}, "the tensor name 'a\\n' is not one that peft writes."),
        ({"": entry([1], [0, 4])}, "the tensor name '' is not one"),
        ({"a" * 501: entry([1], [0, 4])}, "is not one that peft writes."),
        ({"a": entry([2], [0, 8]), "b": entry([2], [4, 12])}, "the data of 'b' overlaps the one before it."),
        ({"a": entry([1], [0, 4]), "b": entry([1], [8, 12])}, "the data of 'b' leaves a gap before it."),
        ({"a": entry([1], [4, 8])}, "the data of 'a' leaves a gap before it."),
    ],
)
def test_an_entry_that_cannot_be(tmp_path: Path, header: dict[str, Any], part: str) -> None:
    message = refusal(tmp_path, safetensors_bytes(header, bytes(12)))
    assert part in message
    assert "\n" not in message


def test_several_bad_entries_are_told_together(tmp_path: Path) -> None:
    message = refusal(tmp_path, safetensors_bytes({"a": entry([0], [0, 0]), "b": entry([1], [0, 1], "I8")}, b"123"))
    assert message.startswith("2 problems in 'pirate/adapter_model.safetensors':\n  the tensor 'a' has shape [0]")


def test_bytes_behind_the_last_tensor_and_missing_ones(tmp_path: Path) -> None:
    good = safetensors_bytes(header_of(GOOD))
    assert refusal(tmp_path, good + b"PK\x05\x06") == (
        "'pirate/adapter_model.safetensors' is damaged: 4 bytes follow the last tensor."
    )
    assert refusal(tmp_path, good[:-1]) == "'pirate/adapter_model.safetensors' is damaged: it is cut short."


def test_200_000_empty_tensors(tmp_path: Path) -> None:
    header = {str(index): entry([0], [0, 0]) for index in range(200_000)}
    assert "holds 200,000 tensors; at most 100,000 are accepted." in refusal(tmp_path, safetensors_bytes(header, b""))


def test_a_folder_and_a_pipe_in_its_place(tmp_path: Path) -> None:
    import os

    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(AdapterFormatError, match=rf"/{name}' is not a regular file\.$"):
            read_header(tmp_path / name)


def test_every_single_cut_of_a_good_file_is_refused(tmp_path: Path) -> None:
    data = write_safetensors(tmp_path / "good", GOOD).read_bytes()
    for length in range(len(data)):
        refusal(tmp_path, data[:length])

"""Full models from folders: what is taken, what stays behind, what is refused with nothing published."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hub import Parent, Registry
from hub.intake_model import import_model
from medley.errors import AdapterFormatError, InvalidNameError, NotFoundError, ProblemsError, UserError
from tests.hub.adapters import BASE, write
from tests.hub.models import SHARDS, model_config, model_files, save, sharded_files, tensors

Files = Mapping[str, bytes]


def refusal(registry: Registry, folder: Path) -> str:
    """The sentence; nothing is published and nothing is left of the copies."""
    with pytest.raises(UserError) as caught:
        import_model(registry, folder, "mixed")
    assert registry.list() == []
    assert os.listdir(registry.home / "store" / "tmp") == []
    assert isinstance(caught.value, (AdapterFormatError, ProblemsError))
    return str(caught.value)


@pytest.mark.parametrize("files", [model_files(LICENSE=b"MIT"), sharded_files(recipe__yaml=b"merge_method: linear\n")])
def test_a_model_comes_in_as_it_is(registry: Registry, make_folder: Callable[..., Path], files: Files) -> None:
    version, left_out = import_model(registry, make_folder(files), "mixed", metadata={"licence": "mit"})
    assert {path.name: path.read_bytes() for path in version.path.iterdir()} == files
    assert (version.kind, version.label, version.base, left_out) == ("model", "mixed:v1", None, ())
    assert version.recipe == ("merge_method: linear\n" if "recipe.yaml" in files else None)
    assert version.metadata == {
        "trainer": "imported",
        "model_type": "llama",
        "architecture": "LlamaForCausalLM",
        "parameters": 3 * 4 + 4 * 4,
        "size_bytes": 4 * 28,
        "dtype": "float32",
        "shards": 2 if "recipe.yaml" in files else 1,
        "licence": "mit",
    }
    assert os.listdir(registry.home / "store" / "tmp") == []


def test_what_it_was_made_from_is_recorded(registry: Registry, make_folder: Callable[..., Path]) -> None:
    base = registry.publish("base", "tiny", make_folder({"base.json": b"{}"}), base=BASE)
    version, _ = import_model(
        registry,
        make_folder(model_files()),
        "mixed",
        base=BASE,
        base_revision="main",
        parents=[Parent(base.id, "base")],
        describe=lambda folder: {"seen": sorted(path.name for path in folder.iterdir())[0]},
    )
    assert (version.base, version.base_revision, version.metadata["seen"]) == (BASE, "main", "config.json")
    assert [(role, parent.label) for role, parent in registry.parents(version.id)] == [("base", "tiny:v1")]


def test_what_belongs_to_other_libraries_stays_behind(registry: Registry, make_folder: Callable[..., Path]) -> None:
    others = [
        "pytorch_model.bin",
        "model.q4.gguf",
        "onnx/model.onnx",
        "flax_model.msgpack",
        "plot.png",
        "USE_POLICY.md",
    ]
    files = {**model_files(README__md=b"---\nlicense: mit\n---\n# Mine\n"), **dict.fromkeys(others, b"\x80\x04x")}
    version, left_out = import_model(registry, make_folder(files), "mixed")
    assert left_out == (
        "USE_POLICY.md",
        "flax_model.msgpack",
        "model.q4.gguf",
        "onnx/",
        "plot.png",
        "pytorch_model.bin",
    )
    assert sorted(path.name for path in version.path.iterdir()) == sorted(set(files) - set(others))
    assert version.metadata["licence"] == "mit"


def without(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name not in names}


def index_of(**weight_map: str) -> bytes:
    named = {name.replace("__", "."): shard for name, shard in weight_map.items()}
    return json.dumps({"weight_map": named}).encode()


def nan_tensors() -> dict[str, Any]:
    values = tensors()
    values["model.embed_tokens.weight"][1, 2] = float("nan")
    return values


EMBED, LAYER = list(tensors())
INDEX = "model.safetensors.index.json"
CASES: dict[str, tuple[dict[str, bytes], str]] = {
    "pickle": (
        {**without(model_files(), "model.safetensors"), "pytorch_model.bin": b"\x80\x04x"},
        "'pytorch_model.bin' is a pickle and is never opened. Save the weights as safetensors (transformers does so by "
        "default).",
    ),
    "code": ({**model_files(), "modeling.py": b"x"}, "'modeling.py' is code, which a model does not need. Remove it."),
    "adapter beside it": (
        {**model_files(), "adapter_config.json": b"{}"},
        "'adapter_config.json' is not part of a model. Remove it or leave it out.",
    ),
    "a folder": ({**model_files(), "more/x.json": b"{}"}, "'more/' is not part of a model. Remove it or leave it out."),
    "no config": (without(model_files(), "config.json"), "it has no config.json."),
    "no tokenizer": (without(model_files(), "tokenizer.json"), "it has no tokenizer (tokenizer.json)."),
    "no weights": (without(model_files(), "model.safetensors"), "it has no weights (model.safetensors)."),
    "no index": (
        without(sharded_files(), INDEX),
        "it has 2 weight files and no model.safetensors.index.json that says what is in them.",
    ),
    "no kind": (
        model_files() | {"config.json": b"{}"},
        "config.json does not say which kind of model it is ('model_type').",
    ),
    "auto_map": (
        model_files() | {"config.json": model_config(auto_map={"AutoModel": "x--y.Z"})},
        "config.json has 'auto_map', which makes transformers import code. Remove the key.",
    ),
    "trust_remote_code deep inside": (
        model_files() | {"config.json": model_config(text_config={"trust_remote_code": True})},
        "config.json has 'trust_remote_code', which makes transformers import code. Remove the key.",
    ),
    "kernel": (
        model_files() | {"config.json": model_config(_attn_implementation="evil/kernel")},
        "config.json asks for a kernel to be fetched ('_attn_implementation'). Remove the key.",
    ),
    "missing shard": (
        without(sharded_files(), SHARDS[1]),
        f"model.safetensors.index.json names the file '{SHARDS[1]}', which is not there.",
    ),
    "path in the index": (
        model_files() | {INDEX: index_of(**{EMBED: "../../x.safetensors", LAYER: "model.safetensors"})},
        "model.safetensors.index.json names the file '../../x.safetensors', which is not there.",
    ),
    "shard outside the index": (
        sharded_files() | {INDEX: index_of(**{EMBED: SHARDS[0]})},
        f"{SHARDS[1]} is not in model.safetensors.index.json, so nothing would load it. Remove it or mend the index.",
    ),
    "tensor outside the index": (
        model_files() | {INDEX: index_of(**{EMBED: "model.safetensors"})},
        f"the tensor '{LAYER}' of model.safetensors is not in model.safetensors.index.json, so nothing would load it.",
    ),
    "index without a map": (model_files() | {INDEX: b"{}"}, f"{INDEX} has no weight_map of tensor names to files."),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_with_its_reason(registry: Registry, tmp_path: Path, case: str) -> None:
    files, sentence = CASES[case]
    folder = tmp_path / "mine"
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert refusal(registry, folder) == f"'mine' cannot be imported: {sentence}"


def test_everything_that_is_wrong_is_said_at_once(registry: Registry, tmp_path: Path) -> None:
    files = without(model_files(), "tokenizer.json") | {"config.json": model_config(auto_map={"AutoModel": "x"})}
    said = refusal(registry, write(tmp_path / "mine", files))
    assert said.splitlines() == [
        "2 problems in 'mine':",
        "  config.json has 'auto_map', which makes transformers import code. Remove the key.",
        "  it has no tokenizer (tokenizer.json).",
    ]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (save(nan_tensors()), f"'mine/model.safetensors': '{EMBED}' holds NaN or Infinity."),
        (save(tensors())[:-3], "'mine/model.safetensors' is damaged: it is cut short."),
        (save(tensors()) + b"more", "'mine/model.safetensors' is damaged: 4 bytes follow the last tensor."),
        (b"PK\x03\x04" + b"x" * 20, "'mine/model.safetensors' is a zip archive (PyTorch saves pickles so), not a "),
    ],
)
def test_damaged_weights_are_refused(registry: Registry, tmp_path: Path, data: bytes, sentence: str) -> None:
    said = refusal(registry, write(tmp_path / "mine", model_files() | {"model.safetensors": data}))
    assert said.startswith(sentence)


def test_a_harmful_chat_template_is_refused(registry: Registry, tmp_path: Path) -> None:
    files = model_files(chat_template__jinja=b"{% for")
    said = refusal(registry, write(tmp_path / "mine", files))
    assert said.startswith("The chat template in chat_template.jinja is not a valid template (line 1: ")
    assert said.endswith(" Put a harmless one in its place.")


def test_a_tensor_in_two_shards_is_refused(registry: Registry, tmp_path: Path) -> None:
    files = sharded_files() | {SHARDS[1]: save(tensors())}
    assert refusal(registry, write(tmp_path / "mine", files)) == (
        f"The tensor '{EMBED}' is in {SHARDS[0]} and in {SHARDS[1]}; a model has it once."
    )


def test_links_are_not_followed(registry: Registry, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", without(model_files(), "model.safetensors"))
    (tmp_path / "secret").write_bytes(save(tensors()))
    (folder / "model.safetensors").symlink_to(tmp_path / "secret")
    assert refusal(registry, folder) == (
        "'mine' cannot be imported: 'model.safetensors' is a symbolic link. Put the file itself there."
    )


def test_a_snapshot_in_the_hubs_cache_is_a_folder_too(registry: Registry, tmp_path: Path) -> None:
    repo = tmp_path / "models--ada--mixed"
    snapshot, blobs = repo / "snapshots" / ("1" * 40), repo / "blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, (name, data) in enumerate(model_files().items()):
        blob = f"{number:040x}"
        (blobs / blob).write_bytes(data)
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    version, _ = import_model(registry, snapshot, "mixed")
    assert {path.name: path.read_bytes() for path in version.path.iterdir()} == model_files()


def test_whole_numbers_and_halves_are_weights_too(registry: Registry, make_folder: Callable[..., Path]) -> None:
    import numpy

    values = {**tensors(), "half": numpy.ones((2, 2), "float16"), "ids": numpy.arange(6), "mask": numpy.ones(2, bool)}
    version, _ = import_model(registry, make_folder(model_files(model__safetensors=save(values))), "mixed")
    assert version.metadata["parameters"] == 28 + 4 + 6 + 2


def test_names_and_places_that_cannot_be(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(InvalidNameError):
        import_model(registry, write(tmp_path / "mine", model_files()), "../x")
    with pytest.raises(NotFoundError, match="There is no folder "):
        import_model(registry, tmp_path / "nowhere", "mixed")
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(AdapterFormatError, match=r"^'x.zip' is a file. A model is imported from its folder.$"):
        import_model(registry, tmp_path / "x.zip", "mixed")
    assert registry.list() == []

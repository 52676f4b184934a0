"""`medley fold` and `medley model`: from adapters to a registered model, and what can be done with one."""

import json
from pathlib import Path

import pytest

from hub import open_registry
from medley.cli.fold import parse_size
from medley.errors import ParameterError
from medley.jobs import base_folder
from medley.jobs.model_facts import model_facts
from tests.cli.conftest import Here, assert_refused, kept_in
from tests.tiny_model import TINY_BASE_ID

MEGABYTE = 10**6


@pytest.fixture
def chef(stocked: Path) -> Path:
    """The home with a model called chef: the tiny base's own files, said to be made of `left`."""
    from hub import Parent

    registry = open_registry(stocked)
    folder = base_folder(registry, registry.get("tiny"))
    registry.publish(
        "model",
        "chef",
        folder,
        base=TINY_BASE_ID,
        parents=[Parent(registry.get("left").id, "input")],
        recipe="fold: {}\n",
        metadata={**model_facts(folder), "trainer": "fold", "method": "fold", "notes": ["said of it"]},
    )
    registry.close()
    return stocked


@pytest.mark.processes
def test_a_blend_becomes_a_folder_and_a_version(stocked: Path, here: Here, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = here("fold", "left=0.6", "right=0.4", out, "--name", "chef", "--shard-size", "50kB", ok=True)
    made = open_registry(stocked).get("chef", "model")
    assert ended.out == f"Done: chef (sha256:{made.id[:8]}).\nWrote {out}.\n"
    assert ended.err.endswith(": Fold left:v1 + right:v1 into tiny:v1\n")
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in made.path.iterdir())
    shards = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert {(out / shard).stat().st_size < 60_000 for shard in shards.values()} == {True}
    parents = here("model", "show", "chef", "--json", ok=True).json["parents"]
    assert sorted((each["role"], each["name"]) for each in parents) == [
        ("base", "tiny:v1"),
        ("input", "left:v1"),
        ("input", "right:v1"),
    ]


def test_a_dry_run_says_what_it_would_make(stocked: Path, here: Here, tmp_path: Path) -> None:
    before = kept_in(stocked)
    ended = here("fold", "left=0.6", "right", tmp_path / "out", "--dry-run", "--dtype", "bfloat16", ok=True)
    assert ended.out == (
        "INPUT     WEIGHT  BASE\n"
        f"left:v1   0.6     {TINY_BASE_ID}\n"
        f"right:v1  1       {TINY_BASE_ID}\n"
        "\n"
        "base          tiny:v1\n"
        "tensors       20, of which 14 change\n"
        "parameters    30,880\n"
        "dtype         bfloat16\n"
        "size on disk  62 kB\n"
        "\n"
        "Nothing stands in the way of this fold.\n"
    )
    said = here("fold", "left", "--name", "chef", "--dry-run", "--json", ok=True).json
    assert said == {
        "base": "tiny:v1",
        "problems": [],
        "warnings": [],
        "inputs": [{"name": "left:v1", "weight": 1.0}],
        "tensors": 20,
        "changed": 14,
        "parameters": 30_880,
        "dtype": "float32",
        "estimated_bytes": 4 * 30_880,
    }
    assert kept_in(stocked) == before


def test_what_is_not_folded(stocked: Path, here: Here, tmp_path: Path) -> None:
    before = kept_in(stocked)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    taken = f"'{tmp_path / 'full'}' exists and is not an empty folder. Choose another place; nothing is overwritten."
    assert_refused(here("fold", "left", tmp_path / "full"), says=taken)
    assert_refused(
        here("fold", "left=much", tmp_path / "out"), says="The weight of 'left' must be a number, got 'much'."
    )
    assert_refused(
        here("fold", "left", "--name", "sums"),
        says="The name 'sums' belongs to a version of kind dataset. Choose another one.",
    )
    ended = here("fold", "left")
    assert (ended.code, ended.err.splitlines()[-1]) == (
        2,
        "Error: Give at least one adapter and the folder OUT, or --name.",
    )
    assert kept_in(stocked) == before


def test_sizes_are_numbers_with_a_unit() -> None:
    sizes = {"500MB": 500 * MEGABYTE, "5GB": 5000 * MEGABYTE, "1.5 gb": 1500 * MEGABYTE, "20kB": 20_000, "9B": 9}
    assert {text: parse_size(text) for text in sizes} == sizes
    for text in ("5", "GB", "-1GB", "0MB", "1.2.3GB", "5 GiB"):
        with pytest.raises(ParameterError, match=r"^A size is a number and B, kB, MB, GB or TB, such as 500MB, got '"):
            parse_size(text)


def test_a_model_is_listed_shown_and_verified(chef: Path, here: Here) -> None:
    version = open_registry(chef).get("chef")
    assert [row["name"] for row in here("model", "list", "--json", ok=True).json] == ["chef"]
    assert here("model", "list", ok=True).out.splitlines()[0].split() == [
        *("NAME", "VERSION", "ID", "BASE", "ALIASES", "CREATED")
    ]
    lines = here("model", "show", "chef", ok=True).out.splitlines()
    assert lines[:3] == ["model         chef:v1", f"id            sha256:{version.id}", f"base          {TINY_BASE_ID}"]
    for line in ("architecture  LlamaForCausalLM", "parameters    30,880", "dtype         float32",
                 "parents       left:v1 (input)", "notes         said of it", "fold: {}"):  # fmt: skip
        assert line in lines
    facts = here("model", "show", "chef", "--json", ok=True).json
    assert (facts["kind"], facts["parents"][0]["name"], facts["recipe"]) == ("model", "left:v1", "fold: {}\n")
    assert here("model", "verify", "--all", ok=True).out == "Checked 1 version: 0 problems.\n"
    assert here("model", "lineage", "chef", ok=True).out == "chef:v1 <- left:v1 (input)\n"
    assert_refused(here("model", "show", "left"), says="'left' is an adapter, not a model.")


def test_a_model_is_exported_pointed_at_and_hidden(chef: Path, here: Here, tmp_path: Path) -> None:
    version = open_registry(chef).get("chef")
    assert here("model", "export", "chef", tmp_path / "out", ok=True).out == f"Wrote {tmp_path / 'out'}.\n"
    copied = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert copied == {path.name: path.read_bytes() for path in version.path.iterdir()}
    assert here("model", "alias", "chef:v1", "production", ok=True).out == "chef:production -> v1\n"
    assert here("model", "rm", "chef").code == 1  # an alias points at it
    here("model", "alias", "chef", "production", "--remove", ok=True)
    ended = here("model", "rm", "chef", ok=True)
    assert ended.out == "Hid chef:v1. Bring it back with: medley model rm chef:v1 --undo\n"
    assert here("model", "rm", "chef:v1", "--undo", ok=True).out == "chef:v1 is back.\n"


def test_an_adapter_goes_to_llama_cpp(stocked: Path, here: Here, tmp_path: Path) -> None:
    import gguf

    out = tmp_path / "left.gguf"
    assert here("adapter", "export", "left", out, "--format", "gguf", ok=True).out == f"Wrote {out}.\n"
    fields = gguf.GGUFReader(out).fields
    assert fields["general.name"].contents() == "left:v1"
    assert fields["general.base_model.0.name"].contents() == TINY_BASE_ID
    taken = f"'{out}' exists. Choose another name; nothing is overwritten."
    assert_refused(here("adapter", "export", "left", out, "--format", "gguf"), says=taken)

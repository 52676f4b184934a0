"""base, adapter and registry: what they print, and what they leave behind."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import open_registry
from tests.cli.conftest import Here, assert_refused, kept_in
from tests.tiny_model import TINY_BASE_ID


def test_lists_promise_an_array_with_one_object_a_name(stocked: Path, here: Here) -> None:
    rows = here("adapter", "list", "--json", ok=True).json
    assert [row["name"] for row in rows] == ["right", "left"]
    left = open_registry(stocked).get("left")
    assert rows[1] == {
        "name": "left",
        "version": 1,
        "id": left.id,
        "kind": "adapter",
        "base": TINY_BASE_ID,
        "created": left.created,
        "aliases": [],
    }
    assert [row["name"] for row in here("adapter", "list", "--json", "--limit", 1, ok=True).json] == ["right"]
    assert [row["name"] for row in here("adapter", "list", "--json", "--search", "lef", ok=True).json] == ["left"]
    assert here("adapter", "list", "--search", "xyz", ok=True).err == "No adapter fits 'xyz'.\n"


def test_a_list_is_the_newest_50_unless_more_are_asked_for(stocked: Path, here: Here) -> None:
    registry = open_registry(stocked)
    folder = registry.get("left").path
    for number in range(51):
        registry.publish("adapter", f"copy-{number:02}", folder, base=TINY_BASE_ID)
    assert len(here("adapter", "list", "--json", ok=True).json) == 50
    assert len(here("adapter", "list", "--json", "--all", ok=True).json) == 53


def test_a_list_for_people(stocked: Path, here: Here) -> None:
    here("adapter", "alias", "left", "production", ok=True)
    lines = here("adapter", "list", ok=True).out.splitlines()
    assert lines[0].split() == ["NAME", "VERSION", "ID", "TYPE", "BASE", "ALIASES", "CREATED"]
    id = open_registry(stocked).get("left").id[:8]
    assert re.fullmatch(rf"left   v1       {id}  lora  {TINY_BASE_ID}  production  \d+ \w+ ago", lines[2])


def test_show_an_adapter(stocked: Path, here: Here) -> None:
    left = open_registry(stocked).get("left")
    shown = here("adapter", "show", "left", ok=True).out
    assert shown.startswith(f"adapter  left:v1\nid       sha256:{left.id}\nbase     {TINY_BASE_ID}\n")
    facts = here("adapter", "show", f"sha256:{left.id[:8]}", "--json", ok=True).json
    assert (facts["id"], facts["kind"], facts["versions"], facts["parents"]) == (left.id, "adapter", [1], [])
    assert facts["files"] == ["adapter_config.json", "adapter_model.safetensors"]
    assert facts["metadata"] == {"licence": "mit"}


def test_show_an_adapter_in_a_folder(stocked: Path, here: Here, make_adapter: Callable[..., Path]) -> None:
    folder = make_adapter("outside", r=2)
    before = kept_in(stocked)
    lines = here("adapter", "show", folder, ok=True).out.splitlines()
    assert lines[0] == "adapter     outside"
    assert "rank        2" in lines
    assert "targets     down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in lines
    facts = here("adapter", "show", folder, "--json", ok=True).json
    assert (facts["base"], facts["metadata"]["rank"], facts["folder"]) == (TINY_BASE_ID, 2, str(folder))
    assert kept_in(stocked) == before
    assert_refused(here("adapter", "show", "./nowhere"), says=f"There is no folder '{Path('nowhere').absolute()}'.")


def test_import_a_folder_and_a_zip_and_name_what_is_left_out(
    stocked: Path, here: Here, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_adapter("mine", seed=3)
    (folder / "README.md").unlink()
    (folder / "optimizer.pt").write_bytes(b"never opened")
    ended = here("adapter", "import", folder, "--name", "mine", ok=True)
    id = open_registry(stocked).get("mine").id
    assert ended.out == (f"Imported mine:v1 (sha256:{id[:8]}), base {TINY_BASE_ID}.\nLeft out: optimizer.pt.\n")
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            file.write(folder / name, name)
    again = here("adapter", "import", archive, "--name", "zipped", "--json", ok=True).json
    assert (again["name"], again["version"], again["id"], again["left_out"]) == ("zipped", 1, id, [])


def test_export_to_a_folder_and_a_zip(stocked: Path, here: Here, tmp_path: Path) -> None:
    left = open_registry(stocked).get("left")
    assert here("adapter", "export", "left", tmp_path / "out", ok=True).out == f"Wrote {tmp_path / 'out'}.\n"
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (left.path / name).read_bytes()
    here("adapter", "export", "left", tmp_path / "out.zip", ok=True)
    assert zipfile.is_zipfile(tmp_path / "out.zip")
    refused = here("adapter", "export", "left", tmp_path / "out")
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)


def test_verify_finds_a_changed_byte(stocked: Path, here: Here) -> None:
    assert here("adapter", "verify", "left", ok=True).out == "Checked 1 version: 0 problems.\n"
    assert here("adapter", "verify", "--all", ok=True).out == "Checked 2 versions: 0 problems.\n"
    assert here("registry", "verify", "--json", ok=True).json == {"checked": 4, "problems": [], "unreferenced": []}
    left = open_registry(stocked).get("left")
    weights = left.path / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    for arguments in (("adapter", "verify", "left"), ("adapter", "verify", "--all"), ("registry", "verify")):
        ended = here(*arguments)
        assert (ended.code, ended.err) == (1, "Error: left:v1: adapter_model.safetensors: changed.\n")
        assert ended.out.endswith(": 1 problem.\n")
    ended = here("adapter", "verify", "left", "--json")
    problem = {"id": left.id, "name": "left:v1", "path": "adapter_model.safetensors", "what": "changed"}
    assert (ended.code, ended.json) == (1, {"checked": 1, "problems": [problem], "unreferenced": []})
    assert here("adapter", "verify", "right").code == 0


def test_aliases_move_and_remember(stocked: Path, here: Here) -> None:
    assert here("adapter", "alias", "left:v1", "production", ok=True).out == "left:production -> v1\n"
    assert here("adapter", "show", "left:production", "--json", ok=True).json["aliases"] == ["production"]
    assert here("adapter", "alias", "left", "production", "--remove", ok=True).out == "left:production is gone.\n"
    moves = here("adapter", "alias", "left", "production", "--history", ok=True).out.splitlines()
    assert [line.split("  ")[1] for line in moves] == ["v1", "removed"]
    assert here("adapter", "alias", "left", "latest").code == 1


def test_lineage(stocked: Path, here: Here) -> None:
    from hub import Parent

    registry = open_registry(stocked)
    left, right = registry.get("left"), registry.get("right")
    parents = [Parent(left.id, "input"), Parent(right.id, "input"), Parent("ab" * 32, "base")]
    registry.publish("adapter", "both", left.path, base=TINY_BASE_ID, parents=parents)
    assert here("adapter", "lineage", "left", ok=True).out == "both:v1 <- left:v1 (input)\n"
    lines = here("adapter", "lineage", "both", ok=True).out.splitlines()
    assert sorted(lines) == [
        "both:v1 <- left:v1 (input)",
        "both:v1 <- right:v1 (input)",
        "both:v1 <- sha256:abababab, which is not in this registry (base)",
    ]
    graph = here("adapter", "lineage", "both", "--json", ok=True).json
    assert {node["name"] for node in graph["nodes"]} == {"left", "right", "both"}
    assert len(graph["edges"]) == 3
    assert here("adapter", "rm", "left").err == (
        "Error: left:v1 cannot be removed: both:v1 came from it. Remove it all the same with --force.\n"
    )


def test_removal_is_two_steps_and_can_be_undone(stocked: Path, here: Here) -> None:
    assert here("adapter", "rm", "left", ok=True).out == (
        "Hid left:v1. Bring it back with: medley adapter rm left:v1 --undo\n"
    )
    assert_refused(here("adapter", "show", "left"), says="There is no adapter named 'left'.")
    assert here("registry", "gc", ok=True).out == (
        "Freed 0 B in 0 folders.\nNot yet, because they were removed just now or are still needed: left:v1.\n"
    )
    assert here("adapter", "rm", "left:v1", "--undo", ok=True).out == "left:v1 is back.\n"
    assert here("registry", "gc", "--json", ok=True).json == {
        "removed": [],
        "folders": [],
        "freed_bytes": 0,
        "waiting": [],
    }


@pytest.mark.parametrize("verb", ["show", "export", "verify", "lineage", "rm"])
def test_the_noun_adapter_takes_adapters_only(stocked: Path, here: Here, tmp_path: Path, verb: str) -> None:
    before = kept_in(stocked)
    more = [tmp_path / "out"] if verb == "export" else []
    assert_refused(here("adapter", verb, "sums", *more), says="'sums' is a dataset, not an adapter.")
    assert kept_in(stocked) == before


def test_bases(here: Here, tiny_base: Path) -> None:
    assert here("base", "add", tiny_base, "--name", "tiny", ok=True).out.startswith("Added base tiny:v1 (folder:")
    added = here("base", "add", tiny_base, "--name", "copy", "--hub-id", TINY_BASE_ID, "--json", ok=True).json
    assert (added["name"], added["kind"], added["base"]) == ("copy", "base", TINY_BASE_ID)
    lines = here("base", "show", "copy", ok=True).out.splitlines()
    assert f"model         {TINY_BASE_ID}" in lines
    assert "parameters    30,880" in lines
    assert {row["name"] for row in here("base", "list", "--json", ok=True).json} == {"tiny", "copy"}
    assert_refused(
        here("base", "add", "./nowhere"),
        says=f"There is no folder '{Path('nowhere').absolute()}'; a base is a folder or a Hub id such as org/name.",
    )
    assert here("base", "add", "org/nothing").code == 1  # offline


def test_the_path_of_the_home(here: Here, medley_home: Path) -> None:
    assert here("registry", "path", ok=True).out == f"{medley_home}\n"
    assert not medley_home.exists()

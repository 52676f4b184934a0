"""The Registry page's handlers: what is listed and shown, what may be changed, and by whom."""

import zipfile
from pathlib import Path

import pytest

from hub import Parent, Version
from medley.ui import registry, registry_actions, version_view
from medley.ui.workspace import Workspace, attempt, query_value
from tests.tiny_model import TINY_BASE_ID
from tests.ui.conftest import assert_harmless


def test_the_table_lists_and_filters(workspace: Workspace, adapters: tuple, dataset: Version) -> None:
    html = registry.list_rows(workspace, "", "all", "50")
    assert all(f">{name}</a>" in html for name in ("left", "right", "sums", "tiny-base"))
    assert "eval loss 1.25" in html
    assert "20 rows" in html
    only = registry.list_rows(workspace, "lef", "adapter", "50")
    assert ">left</a>" in only
    assert ">right</a>" not in only
    assert "Nothing matches" in registry.list_rows(workspace, "nobody", "all", "50")
    assert ">left</a>" in registry.list_rows(workspace, "", "no-such-kind", "no-such-number")


def test_an_empty_registry_offers_the_first_step(workspace: Workspace) -> None:
    html = registry.list_rows(workspace, "", "all", "50")
    assert "The registry is empty" in html
    assert 'href="./data"' in html


def test_a_version_is_shown_without_harm(workspace: Workspace, adapters: tuple) -> None:
    parts = version_view.show(workspace, "left")
    assert parts[0] == "left:v1"
    assert "tiny-base:v1" in parts[1]
    for html in (*parts[1:], registry.version_head(workspace, "left")):
        if "m-code" not in html:  # the card names the example's own addresses as text
            assert_harmless(html)
    assert "adapter_model.safetensors" in parts[4]
    assert "&lt;img src=x onerror=alert(1)&gt;" in registry.version_head(workspace, "left")


def test_an_unknown_version_is_told(workspace: Workspace, adapters: tuple) -> None:
    assert "Did you mean" in version_view.show(workspace, "lefd")[1]
    for reference in ("../left", "/etc/passwd", "left/../right"):
        assert 'role="alert"' in version_view.show(workspace, reference)[1]


def test_aliases_move_and_go(workspace: Workspace, adapters: tuple) -> None:
    notice, versions = registry_actions.set_alias(workspace, "left:v1", " production ")
    assert "left:production is now v1." in notice
    assert "production" in versions
    assert workspace.registry.get("left:production").id == adapters[0].id
    assert "Write the alias first" in registry_actions.set_alias(workspace, "left:v1", " ")[0]
    assert 'role="alert"' in registry_actions.set_alias(workspace, "left:v1", "no spaces")[0]
    assert "no alias production any more" in registry_actions.remove_alias(workspace, "left:v1", "production")[0]


def test_removal_takes_two_steps_and_can_be_undone(workspace: Workspace, adapters: tuple) -> None:
    assert "left:v1 disappears" in registry_actions.ask_to_remove("left:v1")[1]
    notice, _, ask, undo = registry_actions.remove(workspace, "left:v1")
    assert "left:v1 is removed." in notice
    assert (ask.visible, undo.visible) == (False, True)
    assert not workspace.registry.exists("left")
    assert "left:v1 is back." in registry_actions.restore(workspace, "left:v1")[0]
    assert workspace.registry.exists("left")
    in_use = registry_actions.remove(workspace, "tiny-base:v1")[0]
    assert 'role="alert"' in in_use
    assert workspace.registry.exists("tiny-base")


def test_a_visitor_changes_nothing(read_only: Workspace, adapters: tuple) -> None:
    for notice in (
        registry_actions.set_alias(read_only, "left:v1", "x")[0],
        registry_actions.remove_alias(read_only, "left:v1", "x")[0],
        registry_actions.remove(read_only, "left:v1")[0],
        registry_actions.restore(read_only, "left:v1")[0],
    ):
        assert "is switched off here: this app is read-only." in notice
    assert read_only.registry.get("left").aliases == ()


def test_damage_is_found(workspace: Workspace, adapters: tuple) -> None:
    assert "Every file is what was published." in registry_actions.verify_version(workspace, "left:v1")
    weights = adapters[0].path / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    notice = registry_actions.verify_version(workspace, "left:v1")
    assert "adapter_model.safetensors: changed" in notice


def test_an_export_is_a_zip_of_the_adapter(workspace: Workspace, adapters: tuple) -> None:
    path, notice = registry_actions.export_version(workspace, "left:v1")
    assert "m-good" in notice
    assert Path(path).name == "left-v1.zip"
    with zipfile.ZipFile(path) as archive:
        assert any(name.endswith("adapter_model.safetensors") for name in archive.namelist())


def test_errors_become_sentences_and_bugs_stay_inside(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("secret inner detail")

    result, notice = attempt(fail)
    assert result is None
    assert "Something went wrong inside Medley (RuntimeError)" in notice
    assert "secret" not in notice
    assert "secret inner detail" in caplog.text


def test_a_page_without_an_address_has_no_values() -> None:
    assert query_value(None, "name") == ""


def test_a_model_is_shown_as_one(workspace: Workspace, adapters: tuple, tiny_base: Path) -> None:
    facts = {"trainer": "fold", "method": "fold", "architecture": "LlamaForCausalLM", "parameters": 30_880}
    parents = [Parent(adapters[0].id, "input")]
    made = workspace.registry.publish(
        "model", "chef", tiny_base, base=TINY_BASE_ID, parents=parents, recipe="fold: {}\n", metadata=facts
    )
    rows = registry.list_rows(workspace, "", "model", "50")
    assert ">chef</a>" in rows
    assert ">left</a>" not in rows
    assert "model · fold" in rows
    assert "30,880 parameters" in rows
    parts = version_view.show(workspace, "chef")
    assert "left:v1" in parts[1]
    assert "LlamaForCausalLM" in parts[2]
    assert "model.safetensors" in parts[4]
    assert "fold: {}" in parts[5]
    assert "base=chef%3Av1" in registry_actions.next_steps(workspace, "chef")
    assert workspace.bases() == ["tiny-base", "chef"]
    assert workspace.base("chef").id == made.id
    path, notice = registry_actions.export_version(workspace, "chef")
    assert "chef-v1.zip is ready." in notice
    assert "model.safetensors" in zipfile.ZipFile(path).namelist()


def test_learned_weights_stand_beside_the_plain_ones(workspace: Workspace, adapters: tuple) -> None:
    rows = [
        {"name": "learned", "loss": 1.25, "score": None, "weights": {"left:v1": [0.1, 0.7], "right:v1": [0.2, 0.3]}},
        {"name": "1/n each", "loss": 1.5, "score": None, "weights": {"left:v1": [0.5], "right:v1": [0.5]}},
    ]
    report = {"metric": "loss", "is_better": True, "rows": rows}
    workspace.registry.publish(
        "adapter", "both", adapters[0].path, base=TINY_BASE_ID, metadata={"learned_weights": report}
    )  # fmt: skip
    about = version_view.show(workspace, "both")[2]
    assert "Better than the best plain weights" in about
    cells = "<td>learned</td><td class=m-num>1.2500</td><td>left:v1 0.10 to 0.70, right:v1 0.20 to 0.30</td>"
    assert cells in about
    assert "<td>left:v1 0.500, right:v1 0.500</td>" in about
    assert "is_better" not in about
    assert_harmless(about)

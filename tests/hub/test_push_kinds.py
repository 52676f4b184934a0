"""Full models and datasets to the Hub and back: what is planned, what arrives, and that it comes back as it was."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from hub import Registry, Version
from hub.kind_lists import MANIFEST_FILE
from hub.manifest import content_id
from hub.plan import Check, PushPlan, plan_push
from hub.push import PushResult, push
from medley.errors import HubError
from medley.jobs.pull import pull
from tests.hub.adapters import BASE, write
from tests.hub.datasets import publish_sums
from tests.hub.models import RECIPE, SHARDS, model_config, model_files, publish_mixed, sharded_files
from tests.hub_server import HubServer

TOKEN = "hf_" + "Abc123" * 6


def check(plan: PushPlan, name: str) -> Check:
    return next(each for each in plan.checks if each.name == name)


def send(registry: Registry, server: HubServer, name: str, *, private: bool = True) -> tuple[PushPlan, PushResult]:
    plan = plan_push(registry, name, f"ada/{name}", private=private)
    return plan, push(registry, plan, token=server.owner.token, endpoint=server.url)


def fetch(registry: Registry, server: HubServer, name: str, **settings: Any) -> Version:
    return pull(registry, f"ada/{name}", "back", token=server.owner.token, endpoint=server.url, **settings)


def test_a_models_plan_is_exact(registry: Registry, tmp_path: Path) -> None:
    files = {**sharded_files(LICENSE=b"MIT"), "recipe.yaml": RECIPE.encode(), "notes.txt": b"mine"}
    version = publish_mixed(registry, tmp_path / "src", files, licence="mit")
    plan = plan_push(registry, "mixed", "ada/mixed", private=True)
    assert [file.path for file in plan.files] == sorted({*files, "README.md"} - {"notes.txt"})
    assert (plan.kind, plan.repo_type, plan.tag) == ("model", "model", "v1")
    assert [(each.name, each.outcome) for each in plan.checks] == [
        *[(name, "ok") for name in ("files", "base", "card", "local paths", "tokens", "licence")],
        *[(name, "warning") for name in ("identity", "left out")],
    ]
    assert check(plan, "left out").sentence == "notes.txt: not part of a model, not uploaded."
    assert plan.contents[SHARDS[0]] == version.path / SHARDS[0]  # large files are sent from where they lie


def test_the_manifest_is_the_id(registry: Registry, tmp_path: Path) -> None:
    version = publish_mixed(registry, tmp_path / "src")
    plan = plan_push(registry, "mixed", "ada/mixed", private=True)
    manifest = plan.contents[MANIFEST_FILE]
    assert isinstance(manifest, bytes)
    assert content_id(manifest.decode()) == version.id
    assert check(plan, "identity").sentence == "medley.json carries its id, so a pull brings back the same model."


@pytest.mark.parametrize("name", ["recipe", "config"])
def test_what_had_to_be_cleaned_has_no_manifest(registry: Registry, tmp_path: Path, name: str) -> None:
    files = sharded_files()
    if name == "config":
        files["config.json"] = model_config(_name_or_path="/home/ada/models/tiny")
    recipe = "models:\n- model: /home/ada/models/left\n" if name == "recipe" else RECIPE
    publish_mixed(registry, tmp_path / "src", files, recipe=recipe)
    plan = plan_push(registry, "mixed", "ada/mixed", private=True)
    assert MANIFEST_FILE not in plan.contents
    assert check(plan, "identity").outcome == "warning"
    assert plan.refusals == ()
    sent = b"".join(data if isinstance(data, bytes) else data.read_bytes() for data in plan.contents.values())
    assert b"/home/ada" not in sent


def test_a_model_without_a_base_may_still_be_pushed(registry: Registry, tmp_path: Path) -> None:
    registry.publish("model", "found", write(tmp_path / "x", model_files()))
    plan = plan_push(registry, "found", "ada/found", private=True)
    assert (check(plan, "base").outcome, plan.refusals) == ("warning", ())


def test_an_edited_card_of_a_model_is_checked(registry: Registry, tmp_path: Path) -> None:
    publish_mixed(registry, tmp_path / "src")
    good = plan_push(registry, "mixed", "ada/mixed", private=True).card

    def refusals(card: str) -> tuple[str, ...]:
        return plan_push(registry, "mixed", "ada/mixed", private=True, card=card).refusals

    assert refusals(good + "\nMore.\n") == ()
    assert refusals(good.replace(f"- {BASE}\n", "", 1)) == (
        f"The card's metadata must name the base, {BASE}, in the list 'base_model'.",
    )
    assert refusals(good.replace(f"- {BASE}\n", "- ../tiny\n", 1)) == (
        "The card's metadata name the base model '../tiny', which is no Hub id.",
    )


@pytest.mark.parametrize("name", ["config.json", "recipe.yaml", "tokenizer.json"])
def test_a_token_in_a_models_file_is_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    publish_mixed(registry, tmp_path / "src", {**sharded_files(), name: f'{{"key": "{TOKEN}"}}'.encode()})
    plan = plan_push(registry, "mixed", "ada/mixed", private=False)
    assert plan.refusals == (f"{name} holds what looks like an access token. Remove and revoke it.",)


def test_a_token_in_a_row_is_refused(registry: Registry, tmp_path: Path) -> None:
    publish_sums(registry, tmp_path / "src", answer=f"{{}}: {TOKEN}")
    [said] = plan_push(registry, "sums", "ada/sums", private=False).refusals
    assert said == "eval.jsonl holds what looks like an access token. Remove and revoke it."


def test_a_token_across_two_pieces_of_a_large_file_is_found(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_sums(registry, tmp_path / "src", answer=f"{{}}: {TOKEN}", eval_share=0.0)
    monkeypatch.setattr("hub.plan_texts.PIECE_BYTES", 16)
    monkeypatch.setattr("hub.plan_texts.OVERLAP_BYTES", 64)
    assert len(plan_push(registry, "sums", "ada/sums", private=False).refusals) == 1


def test_a_path_in_a_row_is_data_but_this_machines_home_is_not(registry: Registry, tmp_path: Path) -> None:
    publish_sums(registry, tmp_path / "src", answer="See /usr/share/{}.")
    assert plan_push(registry, "sums", "ada/sums", private=False).refusals == ()
    publish_sums(registry, tmp_path / "more", answer=f"See {registry.home}/{{}}.")
    [said] = plan_push(registry, "sums", "ada/sums", private=False).refusals
    assert said.endswith(f" names '{registry.home}', a folder of a computer. Remove it.")


def test_a_card_that_names_no_split_is_refused(registry: Registry, tmp_path: Path) -> None:
    publish_sums(registry, tmp_path / "src")
    good = plan_push(registry, "sums", "ada/sums", private=True).card

    def refusals(card: str) -> tuple[str, ...]:
        return plan_push(registry, "sums", "ada/sums", private=True, card=card).refusals

    assert refusals("# Sums\n") == (
        "The card's metadata must name the file of each split under 'configs', so that it can be loaded.",
    )
    assert refusals(good.replace("path: eval.jsonl", "path: ../eval.jsonl")) == (
        "The card's metadata name the file '../eval.jsonl', which is not among those to upload.",
    )


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_there_and_back_again_is_the_same_version(
    registry: Registry, hub_server: HubServer, tmp_path: Path, kind: str
) -> None:
    sent = (publish_mixed if kind == "model" else publish_sums)(registry, tmp_path / "src")
    plan, result = send(registry, hub_server, sent.name)
    repo = hub_server.store.repos[kind, f"ada/{sent.name}"]
    prefix = "datasets/" if kind == "dataset" else ""
    assert result == PushResult(f"{hub_server.url}/{prefix}ada/{sent.name}", repo.head().oid, "v1", True, True)
    assert [each.title for each in repo.history()] == [f"Publish {sent.label}", "initial commit"]
    assert (repo.tags, repo.is_private) == ({"v1": repo.head().oid}, True)
    assert {path for path in repo.head().files if path != ".gitattributes"} == {file.path for file in plan.files}
    large = {path for path, file in repo.head().files.items() if file.is_lfs}
    assert large == (set(SHARDS) if kind == "model" else set())
    api = HfApi(endpoint=hub_server.url, token=hub_server.owner.token)
    api.snapshot_download(f"ada/{sent.name}", repo_type=kind, revision="v1", local_dir=tmp_path / "there")
    checked = api.verify_repo_checksums(f"ada/{sent.name}", repo_type=kind, local_dir=tmp_path / "there")
    assert checked.mismatches == []

    assert not send(registry, hub_server, sent.name)[1].is_new  # all of it is there already
    back = fetch(registry, hub_server, sent.name)
    assert (back.id, back.kind, back.label, back.recipe) == (sent.id, kind, "back:v1", sent.recipe)
    assert registry.parents(back.id) == registry.parents(sent.id)
    assert registry.verify().is_ok
    assert hub_server.store.deleted == []


def test_a_stranger_gets_the_same_id_too(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    """Another machine that knows neither the parents nor the job still gives it the id that it had."""
    from hub import open_registry

    sent = publish_mixed(registry, tmp_path / "src", licence="mit")
    send(registry, hub_server, "mixed", private=False)
    other = open_registry(tmp_path / "elsewhere")
    back = pull(other, "ada/mixed", "mixed", endpoint=hub_server.url)
    assert (back.id, back.base) == (sent.id, BASE)
    assert dict(other.parents(back.id)) == {"base": None, "input": None}
    assert back.metadata["source"] == f"ada/mixed@{hub_server.store.repos['model', 'ada/mixed'].head().oid}"
    assert (back.metadata["parameters"], back.metadata["licence"]) == (28, "mit")
    assert len(back.metadata["weights_digest"]) == 64  # so that it can serve as a base
    other.close()


def test_the_datasets_library_reads_every_split(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    from datasets import load_dataset

    send(registry, hub_server, publish_sums(registry, tmp_path / "src").name)
    folder = tmp_path / "there"
    api = HfApi(endpoint=hub_server.url, token=hub_server.owner.token)
    api.snapshot_download("ada/sums", repo_type="dataset", local_dir=folder)
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 18, "eval": 2}
    first = json.loads((folder / "train.jsonl").read_text().splitlines()[0])
    assert loaded["train"][0] == first


def test_a_second_version_has_its_own_tag(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    publish_sums(registry, tmp_path / "one")
    send(registry, hub_server, "sums")
    second = publish_sums(registry, tmp_path / "two", count=30)
    send(registry, hub_server, "sums")
    assert sorted(hub_server.store.repos["dataset", "ada/sums"].tags) == ["v1", "v2"]
    assert fetch(registry, hub_server, "sums").id == second.id
    assert fetch(registry, hub_server, "sums", revision="v1").id != second.id


def test_a_public_repo_is_refused_when_private_was_asked(
    registry: Registry, hub_server: HubServer, tmp_path: Path
) -> None:
    publish_sums(registry, tmp_path / "src")
    hub_server.store.add_repo("ada/sums", kind="dataset")
    with pytest.raises(HubError, match=r"^ada/sums is public on the Hub, but a private push was asked for\."):
        send(registry, hub_server, "sums")
    assert hub_server.calls("POST", "/preupload/") == []


def test_another_model_under_the_tag_is_refused(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    publish_mixed(registry, tmp_path / "src")
    send(registry, hub_server, "mixed")
    other = plan_push(registry, "half", "ada/mixed", private=True)
    with pytest.raises(HubError, match=r"^ada/mixed has another model under the tag v1, and tags stay where they are"):
        push(registry, other, token=hub_server.owner.token, endpoint=hub_server.url)


def test_a_lost_answer_makes_no_second_commit(
    registry: Registry, hub_server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.remote_errors.FIRST_PAUSE_S", 0.01)
    publish_sums(registry, tmp_path / "src")
    hub_server.lose_answer("POST", "/commit/")
    hub_server.fail("GET", "/api/datasets/ada/sums$", 503)
    _, result = send(registry, hub_server, "sums")
    repo = hub_server.store.repos["dataset", "ada/sums"]
    assert [each.title for each in repo.history()] == ["Publish sums:v1", "initial commit"]
    assert result.commit == repo.head().oid


def test_a_plan_of_rows_asks_nobody(registry: Registry, tmp_path: Path, loopback_only: list[str]) -> None:
    before = [publish_sums(registry, tmp_path / "src"), publish_mixed(registry, tmp_path / "model")]
    for version in before:
        plan_push(registry, version.name, f"ada/{version.name}", private=False)
        assert registry.get(version.name) == version

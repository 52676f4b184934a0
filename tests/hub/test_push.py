"""A push that works: what arrives, in how many commits, and what a second push does."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelCard

from hub import Registry
from hub.plan import PushPlan, plan_push
from hub.push import PushResult, push
from medley.errors import HubError
from tests.hub.adapters import BASE, RECIPE, adapter_files, config, publish_pirate, weights, write
from tests.hub_server import HubServer


@pytest.fixture
def plan(registry: Registry, tmp_path: Path) -> PushPlan:
    publish_pirate(registry, tmp_path / "src", adapter_files(recipe__yaml=RECIPE.encode()), licence="mit")
    return plan_push(registry, "pirate", "ada/pirate", private=False)


def run(registry: Registry, plan: PushPlan, server: HubServer, **settings: Any) -> PushResult:
    return push(registry, plan, token=server.owner.token, endpoint=server.url, **settings)


def commits(server: HubServer, repo_id: str = "ada/pirate") -> list[str]:
    return [each.title for each in server.store.repos["model", repo_id].history()]


def test_what_arrives(registry: Registry, plan: PushPlan, hub_server: HubServer, tmp_path: Path) -> None:
    result = run(registry, plan, hub_server)
    repo = hub_server.store.repos["model", "ada/pirate"]
    head = repo.head()
    assert result == PushResult(f"{hub_server.url}/ada/pirate", head.oid, "v1", True, True)
    assert commits(hub_server) == ["Publish pirate:v1", "initial commit"]
    assert repo.tags == {"v1": head.oid}
    assert repo.is_private is False
    sent = {path: file.content for path, file in head.files.items() if path != ".gitattributes"}
    assert sent == {
        "README.md": plan.card.encode(),
        "adapter_config.json": config(),
        "adapter_model.safetensors": weights(),
        "recipe.yaml": RECIPE.encode(),
    }
    assert head.files["adapter_model.safetensors"].is_lfs
    api = HfApi(endpoint=hub_server.url, token=False)
    api.snapshot_download("ada/pirate", revision="v1", local_dir=tmp_path / "there")
    checked = api.verify_repo_checksums("ada/pirate", revision="v1", local_dir=tmp_path / "there")
    assert (checked.checked_count, checked.mismatches) == (5, [])
    assert ModelCard.load(tmp_path / "there" / "README.md").data.base_model == BASE


def test_it_is_noted_in_the_registry(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    result = run(registry, plan, hub_server)
    run(registry, plan, hub_server)
    [noted] = registry.get("pirate").metadata["published"]
    assert noted.pop("time") > 0
    assert noted == {"repo_id": "ada/pirate", "commit": result.commit, "tag": "v1", "url": result.url}
    assert registry.verify().is_ok


def test_progress_counts_bytes(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    run(registry, plan, hub_server, emit=lambda kind, **fields: events.append((kind, fields)))
    steps = [(fields["step"], fields["text"]) for kind, fields in events if kind == "progress"]
    first, second, third, _ = [file.size_bytes for file in plan.files]
    assert steps == [
        (0, "Uploading README.md"),
        (first, "Uploading adapter_config.json"),
        (first + second, "Uploading adapter_model.safetensors"),
        (first + second + third, "Uploading recipe.yaml"),
        (plan.total_bytes, "Committing"),
    ]


def test_the_same_push_again_makes_no_commit(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    first = run(registry, plan, hub_server)
    texts: list[str] = []
    second = run(registry, plan, hub_server, emit=lambda kind, **fields: texts.append(fields["text"]))
    assert (second.commit, second.is_new, second.verified) == (first.commit, False, True)
    assert texts == ["ada/pirate has all of it: already published"]
    assert len(commits(hub_server)) == 2
    assert len(hub_server.calls("POST", "/commit/")) == 1


def test_a_new_version_is_one_more_commit_with_its_own_tag(
    registry: Registry, plan: PushPlan, hub_server: HubServer, tmp_path: Path
) -> None:
    first = run(registry, plan, hub_server)
    files = adapter_files() | {"adapter_model.safetensors": weights(seed=1)}
    registry.publish("adapter", "pirate", write(tmp_path / "second", files), base=BASE)
    second = run(registry, plan_push(registry, "pirate", "ada/pirate", private=False), hub_server)
    repo = hub_server.store.repos["model", "ada/pirate"]
    assert commits(hub_server) == ["Publish pirate:v2", "Publish pirate:v1", "initial commit"]
    assert repo.tags == {"v1": first.commit, "v2": second.commit}
    assert "recipe.yaml" in repo.head().files  # nothing is ever taken away from a repo


def test_a_new_card_leaves_the_tag(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    first = run(registry, plan, hub_server)
    edited = plan_push(registry, "pirate", "ada/pirate", private=False, card=plan.card + "\nMore.\n")
    texts: list[str] = []
    second = run(registry, edited, hub_server, emit=lambda kind, **fields: texts.append(fields["text"]))
    assert second.commit != first.commit
    assert hub_server.store.repos["model", "ada/pirate"].tags == {"v1": first.commit}
    assert texts[-1] == f"The tag v1 stays at {first.commit[:8]}: the same adapter with an older card."


def test_another_adapter_under_the_tag_is_refused(
    registry: Registry, plan: PushPlan, hub_server: HubServer, tmp_path: Path
) -> None:
    run(registry, plan, hub_server)
    files = adapter_files() | {"adapter_model.safetensors": weights(seed=1)}
    registry.publish("adapter", "parrot", write(tmp_path / "parrot", files), base=BASE)
    with pytest.raises(HubError) as caught:
        run(registry, plan_push(registry, "parrot", "ada/pirate", private=False), hub_server)
    assert str(caught.value) == (
        "ada/pirate has another adapter under the tag v1, and tags stay where they are. "
        "Push to another repo, or delete the tag on the Hub."
    )
    assert len(hub_server.calls("PUT", "/lfs-upload/")) == 1  # nothing of the second one was sent


def test_a_private_repo_is_made_private(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    run(registry, plan_push(registry, "pirate", "crew/pirate", private=True), hub_server)
    assert hub_server.store.repos["model", "crew/pirate"].is_private is True


def test_a_public_repo_is_refused_when_private_was_asked(
    registry: Registry, plan: PushPlan, hub_server: HubServer
) -> None:
    hub_server.store.add_repo("ada/pirate")
    with pytest.raises(HubError) as caught:
        run(registry, plan_push(registry, "pirate", "ada/pirate", private=True), hub_server)
    assert str(caught.value) == (
        "ada/pirate is public on the Hub, but a private push was asked for. "
        "Make it private in its settings there, or push to another name."
    )
    assert hub_server.calls("POST", "/preupload/") == []


def test_a_private_repo_stays_private(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    repo = hub_server.store.add_repo("ada/pirate", is_private=True)
    texts: list[str] = []
    run(registry, plan, hub_server, emit=lambda kind, **fields: texts.append(fields["text"]))
    assert texts[0] == "ada/pirate is private on the Hub and stays so."
    assert repo.is_private is True


def test_a_refused_plan_sends_nothing(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    publish_pirate(registry, tmp_path / "src", base="folder:" + "0" * 64)
    with pytest.raises(HubError, match="has no Hub id"):
        run(registry, plan_push(registry, "pirate", "ada/pirate", private=False), hub_server)
    assert hub_server.seen == []


def test_a_file_that_changed_since_the_plan_is_not_sent(
    registry: Registry, plan: PushPlan, hub_server: HubServer
) -> None:
    path = registry.get("pirate").path / "adapter_model.safetensors"
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] + b"?")
    with pytest.raises(HubError) as caught:
        run(registry, plan, hub_server)
    assert str(caught.value) == (
        "adapter_model.safetensors changed since the push was planned. Verify the adapter and plan again."
    )
    assert hub_server.seen == []


def test_large_files_go_in_parts_where_the_hub_asks(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    hub_server.part_bytes = 100
    run(registry, plan, hub_server)
    assert len(hub_server.calls("PUT", "/lfs-upload/")) == -(-len(weights()) // 100)


def test_a_push_never_deletes_nor_logs_in(registry: Registry, plan: PushPlan, hub_server: HubServer) -> None:
    run(registry, plan, hub_server)
    assert hub_server.store.deleted == []
    assert {seen.method for seen in hub_server.seen} == {"GET", "POST", "PUT"}
    sent = {seen.headers.get("authorization") for seen in hub_server.seen if "/lfs-upload/" not in seen.path}
    assert sent == {f"Bearer {hub_server.owner.token}"}

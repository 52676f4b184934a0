"""A pull that works: pinned to a commit, through the same intake as a folder, and only with what it needs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub import Registry
from hub.intake import import_adapter
from hub.plan import plan_push
from hub.pull import pull
from hub.push import push
from medley.errors import AdapterFormatError, HubError, InvalidNameError, ProblemsError
from tests.hub.adapters import BASE, adapter_files, config, publish_pirate, weights
from tests.hub_server import HubServer


def run(registry: Registry, server: HubServer, name: str = "back", **settings: Any) -> Any:
    return pull(registry, "ada/pirate", name, endpoint=server.url, **settings)


def test_there_and_back_again(registry: Registry, hub_server: HubServer, tmp_path: Path) -> None:
    sent = publish_pirate(registry, tmp_path / "src", adapter_files(LICENSE=b"MIT"), licence="mit")
    plan = plan_push(registry, "pirate", "ada/pirate", private=True)
    result = push(registry, plan, token=hub_server.owner.token, endpoint=hub_server.url)
    back = run(registry, hub_server, token=hub_server.owner.token)
    for name in ("adapter_config.json", "adapter_model.safetensors", "LICENSE"):
        assert (back.path / name).read_bytes() == (sent.path / name).read_bytes()
    assert (back.path / "README.md").read_text() == plan.card
    assert (back.kind, back.label, back.base) == ("adapter", "back:v1", BASE)
    assert back.metadata["source"] == f"ada/pirate@{result.commit}"
    assert [(role, parent.name) for role, parent in registry.parents(back.id)] == [("base", "tiny")]
    assert run(registry, hub_server, token=hub_server.owner.token).label == "back:v1"  # the same content again


def test_what_was_pulled_gives_the_same_answers_in_plain_peft(
    registry: Registry, hub_server: HubServer, make_adapter: Callable[..., Path], tiny_base: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    made = make_adapter("pirate", r=3, seed=5, base_id=str(tiny_base))  # a path, so that peft asks no Hub about it
    version, _ = import_adapter(registry, made, "pirate", base=BASE)
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    push(registry, plan, token=hub_server.owner.token, endpoint=hub_server.url)
    back = run(registry, hub_server)
    assert back.id != version.id  # the card came with it

    def logits(folder: Path) -> torch.Tensor:
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), folder).eval()
        with torch.no_grad():
            return model(torch.arange(20)[None]).logits

    assert torch.equal(logits(made), logits(back.path))


def test_a_revision_is_resolved_to_its_commit(registry: Registry, hub_server: HubServer) -> None:
    repo = hub_server.store.add_repo("ada/pirate", adapter_files())
    old = repo.head().oid
    repo.tags["v1"] = old
    hub_server.store.add_commit(repo, {"adapter_model.safetensors": weights(seed=1)})
    first = run(registry, hub_server, "first", revision="v1")
    assert first.metadata["source"] == f"ada/pirate@{old}"
    assert (first.path / "adapter_model.safetensors").read_bytes() == weights()
    assert {seen.path.split("/")[4] for seen in hub_server.seen if "/resolve/" in seen.path} == {old}
    assert run(registry, hub_server, "second", revision=old[:40]).id == first.id
    newest = run(registry, hub_server, "third")
    assert (newest.path / "adapter_model.safetensors").read_bytes() == weights(seed=1)


def test_leftovers_stay_on_the_hub_and_are_named(registry: Registry, hub_server: HubServer) -> None:
    leftovers = {
        "training_args.bin": b"\x80\x04pickle",
        "checkpoint-10/adapter_model.safetensors": weights(),
        "runs/events.out.tfevents.1": b"x",
        "adapter_model.bin": b"\x80\x04pickle",
    }
    hub_server.store.add_repo("ada/pirate", adapter_files() | leftovers)
    texts: list[str] = []
    version = run(registry, hub_server, emit=lambda kind, **fields: texts.append(fields["text"]))
    assert texts[0] == "Left out: .gitattributes, adapter_model.bin, checkpoint-10/, runs/, training_args.bin."
    assert sorted(path.name for path in version.path.iterdir()) == sorted(adapter_files())
    fetched = {seen.path.rpartition("/")[2] for seen in hub_server.seen if "/resolve/" in seen.path}
    assert fetched == set(adapter_files())


def test_a_large_tree_is_read_page_by_page(registry: Registry, hub_server: HubServer) -> None:
    hub_server.page_size = 1
    hub_server.store.add_repo("ada/pirate", adapter_files())
    assert run(registry, hub_server).label == "back:v1"
    assert len(hub_server.calls("GET", "/tree/")) == 3


def test_progress_counts_bytes(registry: Registry, hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/pirate", adapter_files())
    steps: list[tuple[int, str]] = []

    def emit(kind: str, **fields: Any) -> None:
        if kind == "progress":
            steps.append((fields["step"], fields["text"]))

    run(registry, hub_server, emit=emit)
    assert steps == [(0, "Downloading adapter_config.json"), (len(config()), "Downloading adapter_model.safetensors")]


def test_a_path_as_base_needs_one_named(registry: Registry, hub_server: HubServer) -> None:
    path = config(base_model_name_or_path="/home/ada/models/tiny")
    hub_server.store.add_repo("ada/pirate", adapter_files() | {"adapter_config.json": path})
    with pytest.raises(AdapterFormatError, match="--base"):
        run(registry, hub_server)
    assert not registry.exists("back")
    assert run(registry, hub_server, base=BASE).base == BASE


def test_a_private_repo_needs_its_token(registry: Registry, hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/pirate", adapter_files(), is_private=True)
    for token in (False, hub_server.stranger.token):
        with pytest.raises(HubError) as caught:
            run(registry, hub_server, token=token)
        assert str(caught.value) == (
            "The Hub shows no repo ada/pirate. Check the name; a private one needs a token that may see it."
        )
    assert run(registry, hub_server, token=hub_server.owner.token).label == "back:v1"


def test_a_gated_repo_says_what_to_do(registry: Registry, hub_server: HubServer) -> None:
    repo = hub_server.store.add_repo("ada/pirate", adapter_files())
    repo.gated = "manual"
    for token in (False, hub_server.stranger.token):
        with pytest.raises(HubError) as caught:
            run(registry, hub_server, token=token)
        assert str(caught.value) == (
            f"ada/pirate is gated. Accept its terms at {hub_server.url}/ada/pirate, "
            "then try again with that account's token."
        )
    repo.granted.add("mallory")
    assert run(registry, hub_server, token=hub_server.stranger.token).label == "back:v1"


@pytest.mark.parametrize("revision", ["v9", "0" * 40, "../../etc/passwd", "refs/pr/1"])
def test_a_revision_that_is_not_there(registry: Registry, hub_server: HubServer, revision: str) -> None:
    hub_server.store.add_repo("ada/pirate", adapter_files())
    with pytest.raises(HubError) as caught:
        run(registry, hub_server, revision=revision)
    assert str(caught.value) == (
        f"ada/pirate has no revision '{revision}'; it may have been deleted. Choose another one."
    )


def test_a_repo_that_is_no_adapter(registry: Registry, hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/pirate", {"README.md": b"# Hello\n"})
    with pytest.raises(HubError) as caught:
        run(registry, hub_server)
    assert str(caught.value) == (
        "ada/pirate is neither an adapter nor a model: it has no adapter_config.json and no config.json."
    )
    assert [seen for seen in hub_server.seen if "/resolve/" in seen.path] == []


def test_names_are_checked_before_anything_is_asked(registry: Registry, hub_server: HubServer) -> None:
    with pytest.raises(InvalidNameError):
        run(registry, hub_server, "../evil")
    with pytest.raises(InvalidNameError, match="is no repo on the Hub"):
        pull(registry, "../evil/x", "back", endpoint=hub_server.url)
    assert hub_server.seen == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("modeling.py", "is code, which an adapter does not need. Remove it."),
        ("model.pkl", "is a pickle and is never opened. Save the weights as adapter_model.safetensors."),
        ("notes.xyz", "is not part of an adapter. Remove it or leave it out."),
    ],
)
def test_what_an_import_refuses_a_pull_refuses_unseen(
    registry: Registry, hub_server: HubServer, name: str, reason: str
) -> None:
    hub_server.store.add_repo("ada/pirate", adapter_files() | {name: b"x"})
    with pytest.raises(AdapterFormatError) as caught:
        run(registry, hub_server)
    assert str(caught.value) == f"'ada/pirate' cannot be imported: '{name}' {reason}"
    assert [seen for seen in hub_server.seen if "/resolve/" in seen.path] == []


def test_only_pickled_weights(registry: Registry, hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/pirate", {"adapter_config.json": config(), "adapter_model.bin": b"\x80\x04"})
    with pytest.raises((AdapterFormatError, ProblemsError), match="is a pickle and is never opened"):
        run(registry, hub_server)

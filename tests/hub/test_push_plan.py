"""What a plan lists, cleans and refuses; made with the network switched off."""

import hashlib
import json
from pathlib import Path

import pytest

from hub import Registry
from hub.plan import Check, PushPlan, plan_push
from medley.errors import HubError, InvalidNameError, NotFoundError, ProblemsError
from tests.hub.adapters import BASE, adapter_files, config, publish_pirate, weights, write

TOKEN = "hf_" + "Abc123" * 6

pytestmark = pytest.mark.usefixtures("loopback_only")


def check(plan: PushPlan, name: str) -> Check:
    return next(each for each in plan.checks if each.name == name)


def content(plan: PushPlan, name: str) -> bytes:
    found = plan.contents[name]
    return found if isinstance(found, bytes) else found.read_bytes()


def test_the_list_is_exact(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src", adapter_files(LICENSE=b"Apache License\n"))
    plan = plan_push(registry, "pirate", "ada/pirate", private=True)
    assert [file.path for file in plan.files] == [
        "LICENSE",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    for path, size_bytes, sha256 in plan.files:
        data = content(plan, path)
        assert (size_bytes, sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert plan.total_bytes == sum(file.size_bytes for file in plan.files)
    assert (plan.label, plan.tag, plan.visibility) == ("pirate:v1", "v1", "private")
    assert content(plan, "adapter_config.json") == (version.path / "adapter_config.json").read_bytes()
    assert content(plan, "README.md").decode() == plan.card
    assert [(each.name, each.outcome) for each in plan.checks] == [
        (name, "ok") for name in ("files", "base", "card", "local paths", "tokens", "licence")
    ]
    assert plan.refusals == ()


def test_a_damaged_file_is_refused(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src")
    path = version.path / "adapter_model.safetensors"
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    with pytest.raises(HubError) as caught:
        plan.require_ok()
    assert str(caught.value) == (
        "pirate:v1: adapter_model.safetensors: changed. The registry's copy is damaged; import or make it again."
    )


def test_a_missing_file_is_refused(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src")
    version.path.chmod(0o755)
    (version.path / "adapter_config.json").unlink()
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    assert check(plan, "files").sentence.startswith("pirate:v1: adapter_config.json: missing.")


def test_a_base_without_a_hub_id_is_refused(registry: Registry, tmp_path: Path) -> None:
    publish_pirate(registry, tmp_path / "src", base="folder:" + "0" * 64)
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    assert plan.refusals == (
        "The base of pirate:v1 has no Hub id, so nobody could load the adapter from the Hub. "
        "Register the base under its Hub id and import the adapter with --base.",
    )
    assert plan.card == ""


def test_the_config_names_the_base_as_on_the_hub(registry: Registry, tmp_path: Path) -> None:
    files = adapter_files() | {"adapter_config.json": config(base_model_name_or_path="/home/ada/models/tiny")}
    version = publish_pirate(registry, tmp_path / "src", files)
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    settings = json.loads(content(plan, "adapter_config.json"))
    assert settings["base_model_name_or_path"] == BASE
    assert settings == json.loads(config()) | {"base_model_name_or_path": BASE}
    assert check(plan, "local paths") == (
        "local paths",
        "warning",
        "adapter_config.json: written anew for the Hub, without local paths and with the base's Hub id.",
    )
    assert b"/home/ada" in (version.path / "adapter_config.json").read_bytes()  # ours stays as it was published


def test_folders_of_the_store_become_names(registry: Registry, tmp_path: Path) -> None:
    first = publish_pirate(registry, tmp_path / "first")
    recipe = f"models:\n- model: {first.path}\n- model: /home/ada/other\n".encode()
    files = adapter_files(recipe__yaml=recipe, merge_report__json=b'{"inputs": ["%s"]}' % str(first.path).encode())
    registry.publish("adapter", "blend", write(tmp_path / "blend", files), base=BASE)
    plan = plan_push(registry, "blend", "ada/blend", private=False)
    assert content(plan, "recipe.yaml") == b"models:\n- model: pirate:v1\n- model: other\n"
    assert content(plan, "merge_report.json") == b'{"inputs": ["pirate:v1"]}'
    assert check(plan, "local paths").outcome == "warning"


def test_a_tokenizers_settings_lose_a_path_but_not_their_text(registry: Registry, tmp_path: Path) -> None:
    settings = {"name_or_path": "/home/ada/tiny", "chat_template": "{{ '/usr/lib/x' }}", "eos_token": "</s>"}
    files = adapter_files(tokenizer_config__json=json.dumps(settings).encode(), vocab__json=b'{"/usr/share/x": 1}')
    publish_pirate(registry, tmp_path / "src", files)
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    assert json.loads(content(plan, "tokenizer_config.json")) == {**settings, "name_or_path": "tiny"}
    assert plan.refusals == ()


@pytest.mark.parametrize("name", ["vocab.json", "LICENSE", "chat_template.jinja"])
def test_this_machines_folder_in_any_file_is_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    files = adapter_files() | {name: f'{{"x": "{registry.home}"}}'.encode()}
    publish_pirate(registry, tmp_path / "src", files)
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    assert plan.refusals == (f"{name} names '{registry.home}', a folder of a computer. Remove it.",)


@pytest.mark.parametrize("name", ["LICENSE", "tokenizer.json", "recipe.yaml", "adapter_config.json"])
def test_a_token_in_any_text_is_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    publish_pirate(registry, tmp_path / "src", adapter_files() | {name: f'{{"key": "{TOKEN}"}}'.encode()})
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    assert plan.refusals == (f"{name} holds what looks like an access token. Remove and revoke it.",)


def test_a_token_in_the_weights_header_is_refused(registry: Registry, tmp_path: Path) -> None:
    files = adapter_files() | {"adapter_model.safetensors": weights(metadata={"note": TOKEN})}
    publish_pirate(registry, tmp_path / "src", files)
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    assert plan.refusals == ("adapter_model.safetensors holds what looks like an access token. Remove and revoke it.",)


def test_an_edited_card_is_checked_too(registry: Registry, tmp_path: Path) -> None:
    publish_pirate(registry, tmp_path / "src")
    good = plan_push(registry, "pirate", "ada/pirate", private=False).card

    def refusals(card: str) -> tuple[str, ...]:
        return plan_push(registry, "pirate", "ada/pirate", private=False, card=card).refusals

    assert refusals(good + "\nMore words.\n") == ()
    assert refusals("# No metadata\n") == (f"The card's metadata must say 'base_model: {BASE}'.",)
    assert refusals(good.replace(BASE, "/home/ada/tiny", 1))[0] == f"The card's metadata must say 'base_model: {BASE}'."
    assert refusals(good + "\nSee /home/ada/notes.txt\n") == (
        "README.md names '/home/ada/notes.txt', a folder of a computer. Remove it.",
    )
    assert refusals(good + TOKEN) == ("README.md holds what looks like an access token. Remove and revoke it.",)
    assert len(refusals(good.replace("---\n", "---\na: &a [1]\nb: [*a, *a]\n", 1))) == 1
    assert len(refusals(good.replace("---\n", "---\na: !!python/object:os.system x\n", 1))) == 1
    assert len(refusals("---\n" + "a: b\n" * 1_000_000 + "---\n")) == 1


def test_several_refusals_come_together(registry: Registry, tmp_path: Path) -> None:
    files = adapter_files(LICENSE=TOKEN.encode())
    publish_pirate(registry, tmp_path / "src", files, base="folder:" + "0" * 64)
    with pytest.raises(ProblemsError, match="2 problems in the push of pirate:v1:"):
        plan_push(registry, "pirate", "ada/pirate", private=False).require_ok()


def test_a_file_outside_the_list_stays_here(registry: Registry, tmp_path: Path) -> None:
    publish_pirate(registry, tmp_path / "src", adapter_files() | {"notes.txt": b"mine"})
    plan = plan_push(registry, "pirate", "ada/pirate", private=False)
    assert "notes.txt" not in plan.contents
    assert check(plan, "left out").sentence == "notes.txt: not part of an adapter, not uploaded."


def test_no_licence_is_a_warning(registry: Registry, tmp_path: Path) -> None:
    publish_pirate(registry, tmp_path / "src")
    found = check(plan_push(registry, "pirate", "ada/pirate", private=False), "licence")
    assert found == (
        "licence",
        "warning",
        "No licence is stated, so others may not use it. Add 'license: …' to the card.",
    )


@pytest.mark.parametrize(
    "repo_id",
    ["pirate", "a/b/c", "../x/y", "ada/..", "ada/p--q", "ada/x.git", "ada/ x", "https://hub/ada", "ada/x\n", ""],
)
def test_a_repo_is_written_owner_name(registry: Registry, tmp_path: Path, repo_id: str) -> None:
    publish_pirate(registry, tmp_path / "src")
    with pytest.raises(InvalidNameError) as caught:
        plan_push(registry, "pirate", repo_id, private=False)
    assert str(caught.value) == f"{repo_id!a} is no repo on the Hub. Write it as owner/name, such as ada/pirate."


def test_a_base_cannot_be_pushed(registry: Registry, tmp_path: Path) -> None:
    publish_pirate(registry, tmp_path / "src")
    with pytest.raises(NotFoundError, match=r"^tiny:v1 is a base; adapters, models and datasets can be pushed\.$"):
        plan_push(registry, "tiny", "ada/tiny", private=False)


def test_a_plan_shows_no_contents(registry: Registry, tmp_path: Path) -> None:
    publish_pirate(registry, tmp_path / "src")
    shown = repr(plan_push(registry, "pirate", "ada/pirate", private=False))
    assert str(registry.home) not in shown
    assert "base_model_relation" not in shown

"""The cards of full models and datasets: the Hub's metadata exactly, and the text around it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from hub import Parent, Registry, Version
from hub.card import build_card
from hub.card_dataset import size_category
from hub.card_model import base_models, relation_of
from medley.errors import HubError
from tests.hub.adapters import BASE, adapter_files, write
from tests.hub.datasets import publish_sums
from tests.hub.models import RECIPE, model_files, publish_mixed


def metadata_of(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_merged_model_names_its_bases_and_mergekit(registry: Registry, tmp_path: Path) -> None:
    version = publish_mixed(registry, tmp_path / "src", licence="mit", metrics={"eval_loss": 1.23456})
    card = build_card(registry, version, "ada/mixed")
    assert metadata_of(card) == {
        "base_model": [BASE, "ada/left", "ada/right"],
        "base_model_relation": "merge",
        "library_name": "transformers",
        "license": "mit",
        "pipeline_tag": "text-generation",
        "tags": ["mergekit", "merge", "medley"],
    }
    assert f"```yaml\n{RECIPE}```" in card
    assert (
        "A merge of other models by `linear`, computed with [mergekit](https://github.com/arcee-ai/mergekit)." in card
    )
    assert "| input | half:v1 | `sha256:" in card
    assert "| eval\\_loss | 1.235 |" in card
    assert 'model = AutoModelForCausalLM.from_pretrained("ada/mixed")' in card
    assert "## Intended use and limits" in card


def fold(registry: Registry, folder: Path, *adapters: str, trainer: str = "fold", recipe: str | None = None) -> Version:
    parents = []
    for number, name in enumerate(adapters):
        files = {**adapter_files(), "LICENSE": str(number).encode()}
        made = registry.publish("adapter", name, write(folder / name, files), base=BASE)
        registry.update_metadata(made.id, published=[{"repo_id": f"ada/{name}", "commit": "1" * 40}])
        parents.append(Parent(made.id, "input"))
    files, about = write(folder / "folded", model_files()), {"trainer": trainer}
    return registry.publish("model", "folded", files, base=BASE, parents=parents, recipe=recipe, metadata=about)


def test_one_folded_adapter_is_a_finetune_of_the_base(registry: Registry, tmp_path: Path) -> None:
    card = build_card(registry, fold(registry, tmp_path, "pirate"), "ada/folded")
    about = metadata_of(card)
    assert (about["base_model"], about["base_model_relation"], about["tags"]) == ([BASE], "finetune", ["medley"])
    assert "The base with one adapter folded into its weights; each weight was rounded once." in card


def test_a_folded_blend_is_a_merge(registry: Registry, tmp_path: Path) -> None:
    about = metadata_of(build_card(registry, fold(registry, tmp_path, "pirate", "poet"), "ada/folded"))
    assert about["base_model"] == [BASE, "ada/pirate", "ada/poet"]
    assert (about["base_model_relation"], about["tags"]) == ("merge", ["merge", "medley"])


def test_what_was_folded_elsewhere_is_told_by_its_recipe(registry: Registry, tmp_path: Path) -> None:
    card = build_card(registry, fold(registry, tmp_path, "pirate", trainer="imported", recipe="fold:\n  base: x\n"))
    assert (metadata_of(card)["base_model"], metadata_of(card)["base_model_relation"]) == ([BASE], "finetune")
    assert "The base with one adapter folded into its weights" in card


def test_what_nobody_knows_is_not_claimed(registry: Registry, tmp_path: Path) -> None:
    version = registry.publish("model", "found", write(tmp_path / "x", model_files()), metadata={"trainer": "imported"})
    card = build_card(registry, version)
    assert metadata_of(card) == {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["medley"]}
    assert "Imported; how it was made is not on record." in card


@pytest.mark.parametrize(
    ("recipe", "found"),
    [
        ("models:\n- model: /home/ada/left\n- model: sha256:abcd\n- model: left:v1\n", []),
        (
            "slices:\n- sources:\n  - {model: {model: {path: ada/left}}}\nbase_model: ada/base@main\n",
            ["ada/left", "ada/base"],
        ),
        (
            "merge_method: linear\nmodels:\n- model: ada/a+ada/lora\n---\nmodels:\n- model: ada/b\n",
            ["ada/a", "ada/lora", "ada/b"],
        ),
        ("a: [", []),
    ],
)
def test_the_hub_ids_of_a_recipe(registry: Registry, tmp_path: Path, recipe: str, found: list[str]) -> None:
    version = registry.publish("model", "m", write(tmp_path / "x", model_files()), recipe=recipe)
    assert base_models(registry, version) == found
    assert relation_of(registry, version) == ("merge" if recipe.startswith("merge_method") else None)


def test_a_card_holds_no_path_and_no_token(registry: Registry, tmp_path: Path) -> None:
    token = "hf_" + "Abc123" * 6
    recipe = f"models:\n- model: /home/ada/models/left\n- model: {token}\n"
    card = build_card(registry, publish_mixed(registry, tmp_path / "src", recipe=recipe, notes=["in /home/ada/x"]))
    assert "/home/ada" not in card
    assert token not in card


def test_a_datasets_card_lets_each_split_be_loaded(registry: Registry, tmp_path: Path) -> None:
    version = publish_sums(registry, tmp_path / "src", provenance="generated")
    card = build_card(registry, version, "ada/sums")
    files = [{"split": "train", "path": "train.jsonl"}, {"split": "eval", "path": "eval.jsonl"}]
    assert metadata_of(card) == {
        "license": "cc0-1.0",
        "task_categories": ["text-generation"],
        "size_categories": ["n<1K"],
        "tags": ["sft", "medley", "synthetic"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    assert "| Rows in train | 18 |" in card
    assert "| found | rows | 20 |" in card
    assert "From sums.jsonl. A model wrote the answers. Licence: cc0-1.0.\n" in card
    assert "```yaml\nimport:\n  file: sums.jsonl\n" in card
    assert 'rows = load_dataset("ada/sums")' in card


def test_a_split_without_rows_is_not_offered(registry: Registry, tmp_path: Path) -> None:
    version = publish_sums(registry, tmp_path / "src", eval_share=0.0, licence=None)
    card = build_card(registry, version)
    assert metadata_of(card)["configs"][0]["data_files"] == [{"split": "train", "path": "train.jsonl"}]
    assert "Who wrote the answers is not on record. Its licence is not stated.\n" in card
    assert "eval split" not in card


def test_where_a_dataset_came_from_on_the_hub(registry: Registry, tmp_path: Path) -> None:
    version = publish_sums(registry, tmp_path / "src")
    version = registry.update_metadata(version.id, source="ada/rows@" + "1" * 40)
    assert f"From [ada/rows](https://huggingface.co/datasets/ada/rows), commit `{'1' * 40}`." in build_card(
        registry, version
    )


@pytest.mark.parametrize(
    ("rows", "word"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (123_456, "100K<n<1M"), (10**7, "10M<n<100M")]
)
def test_sizes_in_the_hubs_words(rows: int, word: str) -> None:
    assert size_category(rows) == word


def test_a_base_has_no_card(registry: Registry, tmp_path: Path) -> None:
    base = registry.publish("base", "tiny", write(tmp_path / "base", {"base.json": b"{}"}), base=BASE)
    with pytest.raises(HubError, match=r"^tiny:v1 is a base; only adapter, model, dataset versions have a card\.$"):
        build_card(registry, base)

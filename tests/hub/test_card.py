"""The card says what is known, in the Hub's terms, and nothing that a stranger could use or that would break it."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hub import Parent, Registry
from hub.card import build_card
from medley.errors import HubError
from tests.hub.adapters import BASE, adapter_files, publish_pirate, write

TOKEN = "hf_" + "Abc123" * 6


def test_the_metadata_is_what_the_hub_reads(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src", licence="Apache-2.0")
    data = ModelCard(build_card(registry, version)).data.to_dict()
    assert data == {
        "base_model": BASE,
        "base_model_relation": "adapter",
        "datasets": ["ada/pirate-rows"],
        "library_name": "peft",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "sft", "medley"],
    }


def test_an_unusual_licence_is_named_beside(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src", licence="Pirate Code 1720")
    data = ModelCard(build_card(registry, version)).data
    assert (data.license, data.license_name) == ("other", "Pirate Code 1720")


def test_a_reward_model_says_so(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src", trainer="reward")
    card = build_card(registry, version)
    data = ModelCard(card).data
    assert (data.pipeline_tag, data.tags) == ("text-classification", ["lora", "reward-model", "medley"])
    assert 'AutoModelForSequenceClassification.from_pretrained("medley-tests/tiny-llama", num_labels=1)' in card


def test_an_imported_reward_model_is_one_by_its_head(registry: Registry, tmp_path: Path) -> None:
    metrics = {"eval_accuracy": 0.7, "eval_longer_wins": 0.4, "eval_shorter_wins": 0.6, "eval_beats_baseline": 1.0}
    version = publish_pirate(registry, tmp_path / "src", trainer="imported", adapter_kind="reward", metrics=metrics)
    card = build_card(registry, version)
    assert ModelCard(card).data.pipeline_tag == "text-classification"
    assert "A reward model (a LoRA adapter with a score head) for" in card
    assert "It prefers the chosen answer in 70.0 %; the rule 'shorter wins' in 60.0 %." in card
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "example", "exec")
    assert "base.config.pad_token_id = None" in code


def test_the_body_tells_where_it_comes_from(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src", metrics={"eval_loss": 1.23456, "rows": 1200})
    card = build_card(registry, version, "ada/pirate")
    parents = dict(registry.parents(version.id))
    assert f"| Content | `sha256:{version.id}` |" in card
    assert f"| base | tiny:v1 | `sha256:{parents['base'].id[:16]}…` |" in card
    assert f"| data | pirate-rows:v1 | `sha256:{parents['data'].id[:16]}…` |" in card
    assert (
        "* **pirate-rows:v1**: 66 rows, format alpaca, licence mit, "
        "from [ada/pirate-rows](https://huggingface.co/datasets/ada/pirate-rows)."
    ) in card
    assert "| eval\\_loss | 1.235 |\n| rows | 1,200 |" in card
    assert "```yaml\ntrainer: sft\nbase: tiny\ndata: pirate-rows\nlearning_rate: 0.0002\n```" in card
    assert 'model = PeftModel.from_pretrained(base, "ada/pirate")' in card
    assert "Trained by supervised fine-tuning as LoRA ([arXiv:2106.09685](https://arxiv.org/abs/2106.09685))." in card


def test_the_example_is_python(registry: Registry, tmp_path: Path) -> None:
    card = build_card(registry, publish_pirate(registry, tmp_path / "src"), "ada/pirate")
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "example", "exec")


def test_a_merge_names_its_method_and_paper(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src", trainer="merge", method="ties", paper="arXiv:2306.01708")
    card = build_card(registry, version)
    assert "A merge of other adapters by `ties` ([arXiv:2306.01708](https://arxiv.org/abs/2306.01708))" in card
    assert ModelCard(card).data.tags == ["lora", "merge", "medley"]


def test_an_extraction_says_what_it_misses(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src", trainer="extract", metrics={"error": 0.1234})
    assert (
        "Extracted from the difference of two full models: the best factors of each changed weight. "
        "It misses 12.34% of that, in the norm of the weights.\n"
    ) in build_card(registry, version)


def test_what_lies_further_back_counts_too(registry: Registry, tmp_path: Path) -> None:
    """A merge was made from the data and on the base of what was merged."""
    first = publish_pirate(registry, tmp_path / "src")
    base = dict(registry.parents(first.id))["base"]
    registry.update_metadata(base.id, note="Training ran on a copy")
    folder = write(tmp_path / "blend", adapter_files())
    blend = registry.publish(
        "adapter", "blend", folder, base=BASE, parents=[Parent(first.id, "input")], metadata={"trainer": "merge"}
    )
    card = build_card(registry, blend)
    assert ModelCard(card).data.datasets == ["ada/pirate-rows"]
    assert "* **pirate-rows:v1**: 66 rows" in card
    assert card.count("Training ran on a copy.") == 1
    registry.update_metadata(blend.id, notes=["Base: Training ran on a copy"])
    assert build_card(registry, registry.get("blend")).count("Training ran on a copy") == 1


def test_nothing_measured_is_said(registry: Registry, tmp_path: Path) -> None:
    assert "## Measured results\n\nNone on record.\n" in build_card(
        registry, publish_pirate(registry, tmp_path / "src")
    )


def test_the_base_needs_a_hub_id(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src", base="folder:" + "0" * 64)
    with pytest.raises(HubError) as caught:
        build_card(registry, version)
    assert str(caught.value) == (
        "The base of pirate:v1 has no Hub id, so nobody could load the adapter from the Hub. "
        "Register the base under its Hub id and import the adapter with --base."
    )


@pytest.mark.parametrize(
    "note",
    [
        "---\nlicense: gpl\n---",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[here](javascript:alert(1))",
        "![beacon](https://example.com/x.png)",
        "<style>*{display:none}</style>",
        "a | b\n# heading",
    ],
)
def test_what_a_user_wrote_is_no_markup(registry: Registry, tmp_path: Path, note: str) -> None:
    version = publish_pirate(registry, tmp_path / "src", notes=[note], metrics={note: note}, method=note)
    card = build_card(registry, version)
    assert ModelCard(card).data.base_model == BASE
    body = card.split("\n---\n", 1)[1]
    for raw in ("<script", "<img", "<style", "](javascript", "![beacon]", "\n# heading", "\n---\n"):
        assert raw not in body.replace("\\<", "").replace("\\[", "").replace("\\]", "")


def test_local_paths_and_tokens_stay_at_home(registry: Registry, tmp_path: Path) -> None:
    recipe = f"data: /home/ada/rows.jsonl\nwindows: C:\\Users\\ada\\rows\nhome: ~/secret/x\ntoken: {TOKEN}\n"
    notes = [f"made in {tmp_path}/work with {TOKEN}"]
    version = publish_pirate(registry, tmp_path / "src", recipe=recipe, notes=notes, metrics={"/home/ada/x": 1.0})
    card = build_card(registry, version)
    assert "data: rows.jsonl\nwindows: rows\nhome: x\ntoken: hf_***" in card
    for leak in (TOKEN, "/home/ada", "C:\\Users", "~/", str(tmp_path)):
        assert leak not in card


def test_a_recipe_cannot_leave_its_block(registry: Registry, tmp_path: Path) -> None:
    version = publish_pirate(registry, tmp_path / "src", recipe="a: |\n  ```\n  # not a heading\n")
    assert "````yaml\na: |\n  ```\n  # not a heading\n````" in build_card(registry, version)

"""`medley convert`: adapters of other kinds in the registry become plain LoRA versions, or it is said why not."""

from pathlib import Path

import pytest
import torch

from hub import open_registry
from medley.jobs import convert_spec
from tests.cli.conftest import Here, assert_refused, kept_in
from tests.tiny_model import TINY_BASE_ID


@pytest.fixture
def others(stocked: Path, tiny_base: Path, tmp_path: Path) -> Path:
    """The home with the adapters `dora` and `soft` in it."""
    from peft import LoraConfig, PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    registry = open_registry(stocked)
    configs = {
        "dora": LoraConfig(r=2, use_dora=True, target_modules=["q_proj"], task_type="CAUSAL_LM"),
        "soft": PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
    }
    for name, config in configs.items():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base), config)
        with torch.no_grad():
            for parameter in (each for each in model.parameters() if each.requires_grad):
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
        model.peft_config["default"].base_model_name_or_path = TINY_BASE_ID
        model.save_pretrained(tmp_path / name)
        (tmp_path / name / "README.md").unlink()
        registry.publish("adapter", name, tmp_path / name, base=TINY_BASE_ID, metadata={"licence": "mit"})
    registry.close()
    return stocked


def test_a_dora_becomes_a_plain_lora_with_lineage_and_error(others: Path, here: Here) -> None:
    ended = here("convert", "dora", "--to", "lora", "--rank", "8", "--name", "plain", ok=True)
    registry = open_registry(others)
    version, source = registry.get("plain", "adapter"), registry.get("dora", "adapter")
    about = version.metadata
    parents = {role: parent.name for role, parent in registry.parents(version.id)}
    assert parents == {"input": "dora", "base": "tiny"}
    assert (about["trainer"], about["method"], about["adapter_type"], about["rank"], about["licence"]) == (
        "convert", "dora", "lora", 8, "mit",
    )  # fmt: skip
    missed = about["metrics"]["error"]
    assert 0.1 < missed < 0.9
    assert about["notes"] == [f"The result misses {missed:.1%} of the DoRA's delta at rank 8 or less."]
    assert ended.out.splitlines()[-1] == (
        f"It misses {missed:.2%} of the delta; merge_report.json says it for each module."
    )
    assert f"adapter: sha256:{source.id}" in version.recipe
    assert here("merge", "--method", "linear", "plain", "left", "--dry-run").code == 0  # a plain LoRA can be merged


def test_what_can_be_known_is_said_before_a_job_is_made(others: Path, here: Here) -> None:
    before = kept_in(others)
    found = here("convert", "dora", "--rank", "8", "--dry-run", "--json", ok=True).json
    assert (found["adapter"], found["base"], found["kind"], found["problems"]) == ("dora:v1", "tiny:v1", "dora", [])
    assert found["rank_plan"] == {f"model.layers.{layer}.self_attn.q_proj": 8 for layer in (0, 1)}
    assert found["estimated_bytes"] == 2 * 8 * (32 + 32) * 4  # layers, rank, rows and columns, bytes
    assert_refused(
        here("convert", "soft", "--name", "plain"),
        says="'soft:v1' is a soft prompt: embeddings in front of every prompt, which change no weights. "
        "There is no weight delta that a LoRA could hold.",
    )
    ended = here("convert", "nobody", "--rank", "0", "--name", "sums")
    assert ended.err.splitlines() == [
        "Error: 3 problems in the conversion:",
        "  The name 'sums' belongs to a version of kind dataset. Choose another one.",
        "  rank must be auto, a whole number of at least 1, or energy:x with x in (0, 1], got 0.",
        "  There is no version named 'nobody'.",
    ]
    assert kept_in(others) == before
    spec = convert_spec(open_registry(others), "left", name="plain")
    assert (spec.lane, spec.title, spec.params["base"]) == ("merge", "Convert left:v1 to plain LoRA plain", None)

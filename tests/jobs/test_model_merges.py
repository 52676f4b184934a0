"""Merges of full models as jobs: names found and pinned, what is not here said, the result registered as a model."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hub import Registry, Version
from medley.errors import ProblemsError
from medley.jobs import Jobs, add_base, merge_spec, plan_merge
from medley.jobs.bases import default_base
from merging import parse_documents
from merging.recipes.documents import documents_to_yaml
from tests.hub_server.server import HubServer
from tests.jobs.conftest import done
from tests.merging.llama_family import write_model
from tests.merging.lora_files import random_lora
from tests.tiny_model import TINY_BASE_ID


def linear(*models: str, **keys: object) -> dict[str, object]:
    return {"merge_method": "linear", "models": [{"model": each, "parameters": {"weight": 1}} for each in models],
            **keys}  # fmt: skip


def problems_of(registry: Registry, recipe: object) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        merge_spec(registry, recipe, name="made")
    return list(caught.value.problems)


@pytest.mark.processes
def test_documents_of_adapters_and_models_end_as_one_model(
    jobs: Jobs, registry: Registry, base: Version, adapters: tuple[Version, Version], tiny_base: Path
) -> None:
    """blend = (left + right)/2; the model is (base + (base + blend))/2 = base + (left + right)/4."""
    recipe = [
        {**linear("left", "right"), "name": "blend"},
        linear("tiny", "tiny+blend", dtype="float32"),
    ]
    job = done(jobs, jobs.submit(merge_spec(registry, recipe, name="quarter")).id)
    version = registry.get(f"sha256:{job.result}")
    assert (version.kind, version.base) == ("model", TINY_BASE_ID)
    assert {(role, parent.id) for role, parent in registry.parents(version.id)} == {
        ("input", each.id) for each in (base, *adapters)
    }
    about = version.metadata
    assert (about["trainer"], about["method"], about["architecture"]) == ("merge", "linear", "LlamaForCausalLM")
    named = list(yaml.safe_load_all(version.recipe))
    assert [each["model"] for each in named[0]["models"]] == [f"sha256:{each.id}" for each in adapters]
    assert [each["model"] for each in named[1]["models"]] == [f"sha256:{base.id}", f"sha256:{base.id}+blend"]
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_base, version.path))
    name = "model.layers.0.mlp.up_proj"
    deltas = []
    for adapter in adapters:
        tensors = load_file(adapter.path / "adapter_model.safetensors")
        scale = json.loads((adapter.path / "adapter_config.json").read_text())
        b, a = (tensors[f"base_model.model.{name}.lora_{side}.weight"] for side in "BA")
        deltas.append(scale["lora_alpha"] / scale["r"] * b @ a)
    assert torch.allclose(after[f"{name}.weight"], before[f"{name}.weight"] + sum(deltas) / 4, atol=1e-6)
    assert registry.verify(version.id).problems == []


def test_a_folder_is_never_called_like_a_result(registry: Registry, tmp_path: Path) -> None:
    folder = str(random_lora(tmp_path / "blend", seed=1))
    plan = plan_merge(registry, [linear(folder, name="blend"), linear("blend", folder)])
    last = plan.documents[-1].recipe
    assert last.models[0] == "blend"
    assert re.fullmatch("blend-[0-9a-f]{8}", last.models[1])
    assert parse_documents(documents_to_yaml(plan.documents)) == plan.documents


def test_adapters_that_become_a_model_find_their_base(
    registry: Registry, base: Version, adapters: tuple[Version, Version]
) -> None:
    plan = plan_merge(registry, linear("left", "right", output="model"))
    assert plan.findings.problems == ()
    assert plan.documents[-1].makes == "model"
    assert plan.recipe.base_model == TINY_BASE_ID
    spec = merge_spec(registry, linear("tiny+left", "right", output="model"), name="made")
    assert spec.params["bases"] == {TINY_BASE_ID: {"label": "tiny:v1", "version": base.id}}
    assert spec.params["recipe"]["base_model"] == TINY_BASE_ID


def test_folders_and_names_are_pinned_and_compared(
    registry: Registry, base: Version, tiny_base: Path, tmp_path: Path
) -> None:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    other = write_model(tiny_base, tmp_path / "other", 1, **shape)
    assert problems_of(registry, linear("tiny", str(other))) == [
        "The models have different numbers of layers: 'tiny:v1' has 2, 'other' has 4. Name the layers in slices.",
    ]
    spec = merge_spec(registry, linear(str(other), output="model"), name="made")
    assert spec.params["recipe"]["models"][0]["model"] == "other"
    assert spec.params["models"]["other"]["folder"] == str(other)
    assert spec.title == "Merge made (linear) from other"


def test_a_model_that_is_not_here_is_said_and_not_fetched(registry: Registry, base: Version) -> None:
    version = default_base(registry)
    plan = plan_merge(registry, linear("tiny", version.name))
    assert plan.findings.problems == ()
    assert plan.findings.warnings == (
        f"'{version.label}' is not on this machine. It is fetched when the merge starts, and compared with the others "
        "then.",
    )
    recipe = {**linear("tiny", version.name), "parameters": {"weigth": 1}}
    assert problems_of(registry, recipe) == ["linear has no parameter 'weigth'. Did you mean 'weight'?"]
    assert list((registry.home / "bases").glob("*")) == []


def test_an_adapter_on_another_model_than_its_own_is_a_warning(
    registry: Registry, base: Version, adapters: tuple[Version, Version], tiny_base: Path
) -> None:
    add_base(registry, tiny_base, "cousin", hub_id="medley-tests/cousin")
    plan = plan_merge(registry, linear("tiny", "tiny+left", "cousin+right"))
    assert plan.findings.warnings == (f"right:v1 was trained on {TINY_BASE_ID}, but the recipe puts it on cousin:v1.",)


def test_a_hub_id_is_asked_what_it_is_and_pinned_without_its_weights(
    registry: Registry, base: Version, online: HubServer, tiny_base: Path
) -> None:
    """Its list of files tells a model from an adapter, and its headers what a merge would make of it."""
    files = {path.name: path.read_bytes() for path in tiny_base.iterdir()}
    commit = online.store.add_repo("ada/chef", files).head().oid
    plan = plan_merge(registry, linear("tiny", "ada/chef"))
    assert (plan.findings.problems, plan.findings.warnings) == ((), ())
    assert plan.findings.estimated_bytes == 4 * 30880
    spec = merge_spec(registry, linear("tiny", "ada/chef"), name="made")
    assert spec.params["models"][f"ada/chef@{commit}"] == {
        "label": "ada/chef",
        "hub_id": "ada/chef",
        "revision": commit,
    }
    assert problems_of(registry, linear("tiny", "ada/nobody")) == [
        "The Hub shows no repo ada/nobody. Check the name; a private one needs a token that may see it."
    ]


def test_names_that_are_nothing_and_folders_from_strangers(
    registry: Registry, base: Version, sums: Version, tiny_base: Path
) -> None:
    assert problems_of(registry, linear("tiny", "tinny")) == ["There is no version named 'tinny'. Did you mean 'tiny'?"]
    assert problems_of(registry, linear("tiny", "sums")) == ["'sums:v1' is a dataset, not a full model."]
    with pytest.raises(ProblemsError, match=r"^A folder cannot be opened from here\. Add it as a base first"):
        plan_merge(registry, linear("tiny", str(tiny_base)), may_open_paths=False)

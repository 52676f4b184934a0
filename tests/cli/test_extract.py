"""`medley extract`: from a full model's folder to a registered adapter, and what is refused before anything runs."""

import json
from pathlib import Path

import pytest
import torch

from hub import open_registry
from medley.jobs import extract_spec, parse_spec
from tests.cli.conftest import Here, assert_refused, kept_in
from tests.merging.tuned_models import fine_tuned, noise
from tests.tiny_model import TINY_BASE_ID


def change_queries(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Rank 2 in the query projections, and a changed last norm."""
    if name == "model.norm.weight":
        return tensor + 1
    rows, columns = tensor.shape[0], tensor.shape[-1]
    return tensor + noise(name, (rows, 2)) @ noise(name, (2, columns)) if "q_proj" in name else tensor


@pytest.fixture
def tuned(tiny_base: Path, tmp_path: Path) -> Path:
    return fine_tuned(tiny_base, tmp_path / "tuned", change_queries)


def test_a_folder_becomes_an_adapter_with_lineage_and_error(stocked: Path, here: Here, tuned: Path) -> None:
    ended = here("extract", tuned, "--base", "tiny", "--rank", "energy:0.9999", "--name", "queries", ok=True)
    said = ended.out.splitlines()
    assert said[0].startswith("Done: queries (sha256:")
    assert said[1] == "It misses 0.00% of the difference; merge_report.json says it for each module."
    registry = open_registry(stocked)
    version = registry.get("queries", "adapter")
    assert version.base == TINY_BASE_ID
    assert [(role, parent.name) for role, parent in registry.parents(version.id)] == [("base", "tiny")]
    about = version.metadata
    assert (about["trainer"], about["rank"], about["targets"]) == ("extract", 2, ["q_proj"])
    assert about["metrics"]["error"] < 1e-5
    assert about["notes"] == [
        "The adapter holds model.norm.weight whole; such an adapter cannot be merged with others."
    ]
    assert "max_rank: 128" in version.recipe
    assert "model: tuned" in version.recipe  # the folder's name, never its path
    assert str(tuned) not in (version.path / "merge_report.json").read_text()
    stored = json.loads((version.path / "adapter_config.json").read_text())
    assert stored["modules_to_save"] == ["model.norm"]
    assert not registry.verify(version.id).problems


def test_dry_run_says_what_would_be_made(stocked: Path, here: Here, tuned: Path) -> None:
    before = kept_in(stocked)
    ended = here("extract", tuned, "--base", "tiny", "--rank", "8", "--dry-run", "--json", ok=True)
    assert ended.json["base"] == "tiny:v1"
    assert set(ended.json["rank_plan"].values()) == {8}
    sizes = {"q_proj": 64, "k_proj": 48, "v_proj": 48, "o_proj": 64, "gate_proj": 96, "up_proj": 96, "down_proj": 96}
    assert len(ended.json["rank_plan"]) == 14
    assert ended.json["estimated_bytes"] == 2 * 8 * 4 * sum(sizes.values())  # layers, rank, bytes, rows and columns
    assert kept_in(stocked) == before


def test_everything_wrong_is_said_before_a_job_is_made(stocked: Path, here: Here, tuned: Path, tmp_path: Path) -> None:
    before = kept_in(stocked)
    wrong = ("--base", "tiny", "--max-rank", "0", "--name", "sums")
    ended = here("extract", tmp_path / "nowhere", *wrong)
    assert ended.code == 1
    assert ended.err.splitlines() == [
        "Error: 3 problems in the extraction:",
        "  The name 'sums' belongs to a version of kind dataset. Choose another one.",
        "  max_rank must be in [1, 16384], got 0.",
        f"  There is no folder {str(tmp_path / 'nowhere')!r}.",
    ]
    assert_refused(
        here("extract", "left", "--base", "tiny", "--name", "new"),
        says="'left:v1' is an adapter, not a full model.",
    )
    assert_refused(
        here("extract", tuned, "--base", "tiny", "--rank", "exact", "--name", "new"),
        says="rank must be a whole number of at least 1 or energy:x with x in (0, 1], got exact.",
    )
    assert kept_in(stocked) == before


def test_a_registered_model_brings_its_base(stocked: Path, tuned: Path) -> None:
    registry = open_registry(stocked)
    model = registry.publish("model", "queries-full", tuned, base=TINY_BASE_ID)
    spec = extract_spec(registry, "queries-full", name="queries", options={"rank": "4"})
    assert spec.params["base"] == registry.get("tiny", "base").id
    assert spec.params["model"] == {"label": "queries-full:v1", "version": model.id}
    assert (spec.lane, parse_spec(spec.to_yaml())) == ("merge", spec)

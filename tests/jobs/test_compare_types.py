"""A comparison of adapter types as a job on the tiny base: each type in a process of its own, one report at the end."""

import json
from pathlib import Path

import pytest

from hub import Registry, Version
from medley.cli.main import run as medley
from medley.errors import ProblemsError
from medley.jobs import Jobs, compare_types_spec, parse_spec
from medley.jobs.type_report import read_type_report
from tests.jobs.conftest import done

BUDGET = {"types": ["lora", "prompt-tuning"], "max_steps": 3, "batch_size": 4, "rank": 2, "device": "cpu"}


def test_types_are_trained_and_measured_and_the_report_is_registered(
    jobs: Jobs, registry: Registry, base: Version, sums: Version, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = compare_types_spec(registry, base="tiny", data="sums", name="types", options=BUDGET)
    assert parse_spec(spec.to_yaml()) == spec
    assert spec.lane == "train:cpu"
    job = done(jobs, jobs.submit(spec).id)
    version = registry.get("types", "report")
    assert (version.id, version.metadata["report"]) == (job.result, "compare-types")
    assert [(role, parent.id) for role, parent in registry.parents(version.id)] == [
        ("base", base.id),
        ("data", sums.id),
    ]
    rows = {row.adapter: row for row in read_type_report(version)}
    lora, prompt = rows["lora"], rows["prompt-tuning"]
    # rank 2 on all linear layers of 2 layers: q, o 32+32; k, v 32+16; gate, up 32+64; down 64+32
    assert lora.num_trainable_params == 2 * 2 * (2 * 64 + 2 * 48 + 2 * 96 + 96)
    assert prompt.num_trainable_params == 20 * 32
    assert (lora.learning_rate, prompt.learning_rate) == (2e-4, 1e-2)
    assert lora.eval_loss_before == pytest.approx(5.95, abs=0.1)  # ln 384
    for row in rows.values():
        assert row.steps == 3
        assert row.file_size > 4 * row.num_trainable_params
        assert 10e6 < row.memory_max < 2e9
        assert 0 <= row.token_accuracy <= 1
        assert row.forgetting_error > 0
    assert abs(lora.forgetting) < abs(prompt.forgetting)  # three small steps against twenty tokens in front
    told = [event["text"] for event in jobs.events(job.id)[0] if event["kind"] == "progress"]
    assert "prompt-tuning: Training" in told
    settings = json.loads((version.path / "report.json").read_text())["settings"]
    assert settings["general"]["texts"] == 14
    assert medley(["compare-types", "--show", "types"]) == 0
    table = capsys.readouterr().out
    assert table.split()[:3] == ["type", "eval", "loss"]
    assert "prompt-tuning" in table


def test_everything_that_is_wrong_is_told_before_anything_is_queued(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ProblemsError) as caught:
        compare_types_spec(
            registry, data="nothing", name="Bad Name", general=tmp_path / "absent.txt",
            options={"types": ["lora", "magic", "lora"]},
        )  # fmt: skip
    text = "\n".join(caught.value.problems)
    assert "There is no dataset named 'nothing'." in text
    assert "There is no type 'magic'. Known: lora, rslora, pissa, olora, eva, qlora, dora, ia3" in text
    assert "Each type is compared once, got lora, magic, lora." in text
    assert "There is no general text 'absent.txt'. Check the path." in text


def test_preference_data_is_refused(registry: Registry, base: Version, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n")
    registry.publish("dataset", "pairs", tmp_path, metadata={"kind": "preference"})
    with pytest.raises(ProblemsError, match="Types are compared on sft data, but 'pairs' is preference data"):
        compare_types_spec(registry, base="tiny", data="pairs", name="types")

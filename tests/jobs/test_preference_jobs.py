"""DPO as a job: killed in mid-run and retried, it publishes the very version of an undisturbed run."""

import os
import signal
from pathlib import Path

from hub import Registry, Version
from medley.jobs import Jobs, train_spec
from tests.jobs.conftest import LONG_S, done, wait_for_event
from tests.trainers.preference_rows import WORDS, pair, write_dataset

OPTIONS = {"max_steps": 40, "epochs": 100, "batch_size": 4, "save_every": 5, "device": "cpu"}
OPTIONS |= {"learning_rate": 1e-3, "samples": 0, "eval_every": 20, "kl_samples": 4, "kl_tokens": 4}


def test_a_dpo_run_killed_and_retried_makes_what_an_undisturbed_one_makes(
    jobs: Jobs, registry: Registry, base: Version, adapters: tuple[Version, Version], tmp_path: Path
) -> None:
    """It is held to the adapter `left`, which stands as reference in its lineage and on its record."""
    rows = [pair(word) for word in WORDS]
    folder = write_dataset(tmp_path / "pairs", rows[:8], rows[8:])
    data = registry.publish("dataset", "pairs", folder, metadata={"kind": "preference", "format": "preference"})
    spec = train_spec(registry, "dpo", data="pairs", name="sailor", init="left", options=OPTIONS)
    killed = jobs.submit(spec)
    wait_for_event(jobs, killed.id, "checkpoint")
    os.kill(jobs.get(killed.id).pid, signal.SIGKILL)
    assert jobs.wait(killed.id, LONG_S).state == "lost"
    assert not registry.exists("sailor")

    again = done(jobs, jobs.retry(killed.id).id)
    steps = [event["step"] for event in jobs.events(again.id)[0] if event["kind"] == "metric" and "loss" in event]
    assert steps[0] % OPTIONS["save_every"] == 1  # the first step after a checkpoint
    assert steps[-1] == OPTIONS["max_steps"]
    undisturbed = done(jobs, jobs.submit(spec).id)
    assert again.result == undisturbed.result == registry.get("sailor").id
    first = next(event for event in jobs.events(undisturbed.id)[0] if "eval_loss" in event)
    assert (first["step"], first["eval_rewards/margins"]) == (0, 0.0)

    version = registry.get("sailor")
    parents = {role: parent.id for role, parent in registry.parents(version.id)}
    assert parents == {"base": base.id, "data": data.id, "reference": adapters[0].id}
    assert version.metadata["reference"] == "left:v1"
    assert f"from: sha256:{adapters[0].id}" in version.recipe
    assert set(version.metadata["metrics"]) >= {"kl/sequence", "kl/token", "eval_rewards/accuracies", "length/after"}

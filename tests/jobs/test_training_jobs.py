"""Trainings as jobs, on the tiny base: done, stopped, killed and resumed; and merges of what they made.

Each worker imports torch and the training libraries, some seconds every time, so that a test here asks several things.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hub import Registry, Version
from medley.jobs import Jobs, JobSpec, follow_job, train_recipe_spec
from medley.jobs.job import Job
from tests.jobs.conftest import LONG_S, done, wait_for_event, wait_until_gone
from trainers.checkpoints import newest_checkpoint

STEPS = 60  # some seconds on the tiny base: long enough to be stopped or killed in the middle
SAVE_EVERY = 20


@pytest.fixture
def a_long_training(a_training: Callable[..., JobSpec]) -> JobSpec:
    return a_training("counter", max_steps=STEPS, save_every=SAVE_EVERY, max_eval_rows=4, eval_every=STEPS)


def test_a_training_killed_and_retried_makes_what_an_undisturbed_one_makes(
    jobs: Jobs, registry: Registry, base: Version, sums: Version, a_long_training: JobSpec
) -> None:
    """kill -9 after the first checkpoint: lost, then resumed; the version that it publishes is the very same."""
    killed = jobs.submit(a_long_training)
    first = wait_for_event(jobs, killed.id, "checkpoint")
    os.kill(jobs.get(killed.id).pid, signal.SIGKILL)
    lost = jobs.wait(killed.id, LONG_S)
    assert lost.state == "lost"
    assert lost.error.startswith("The worker ended without a result: it was killed")
    assert not registry.exists("counter")
    assert newest_checkpoint(lost.out_dir) is not None

    again = done(jobs, jobs.retry(killed.id).id)
    assert not any(word in jobs.log_tail(again.id) for word in ("kernels", "FutureWarning"))
    steps = [event["step"] for event in jobs.events(again.id)[0] if event["kind"] == "metric" and "loss" in event]
    assert steps[0] > first["step"] - 1
    assert steps[0] % SAVE_EVERY == 1  # the first step after a checkpoint
    assert steps[-1] == STEPS
    assert not (lost.folder / "out").exists()  # checkpoints of a finished training are only ballast

    undisturbed = jobs.submit(a_long_training)
    events = list(follow_job(jobs, undisturbed.id))
    assert [event["state"] for event in events if event["kind"] == "state"] == ["running", "done"]
    assert events[-1] == {"kind": "state", "state": "done", "offset": undisturbed.events_path.stat().st_size}
    assert again.result == jobs.get(undisturbed.id).result == registry.get("counter").id
    assert [version.number for version in registry.versions("counter")] == [1]
    check_what_is_registered(jobs, registry, again, base, sums)


def test_a_stopped_training_keeps_its_last_checkpoint(
    jobs: Jobs, registry: Registry, a_training: Callable[..., JobSpec]
) -> None:
    job = jobs.submit(a_training("counter", max_steps=100_000, save_every=20, log_to="tensorboard"))
    wait_for_event(jobs, job.id, "metric")
    assert jobs.stop(job.id).state == "stopping"
    stopped = jobs.wait(job.id, LONG_S)
    assert (stopped.state, stopped.error, stopped.result) == ("stopped", None, None)
    checkpoint = newest_checkpoint(stopped.out_dir)
    assert checkpoint is not None
    last_step = [event for event in jobs.events(job.id)[0] if event["kind"] == "progress"][-1]["step"]
    assert checkpoint.name == f"checkpoint-{last_step}"
    assert len(list(stopped.tracking_dir.glob(f"{job.id}/events.out.tfevents.*"))) == 1
    assert not registry.exists("counter")

    again = jobs.retry(job.id)  # and SIGTERM from outside, as at a shutdown, leaves what is on disk as it is
    wait_for_event(jobs, again.id, "metric")
    jobs.stop(again.id, now=True)
    assert jobs.wait(again.id, LONG_S).state == "stopped"
    wait_until_gone(again.process)
    assert newest_checkpoint(stopped.out_dir) == checkpoint


def check_what_is_registered(jobs: Jobs, registry: Registry, job: Job, base: Version, sums: Version) -> None:
    """All that cards, lineage and a rerun need is on record, and no path of this machine."""
    version = registry.get("counter")
    facts = version.metadata
    assert (facts["trainer"], facts["rank"], facts["base_name"], facts["job"]) == ("sft", 2, "tiny", job.id)
    assert facts["targets"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert facts["base_weights_digest"] == base.metadata["weights_digest"]
    assert facts["trained_on"] in ("bf16", "fp32")
    assert len(facts["template_hash"]) == 64
    assert facts["licence"] == "cc0-1.0"
    assert set(facts["metrics"]) >= {"train_loss", "eval_loss", "eval_loss_before"}
    parents = {role: parent.id for role, parent in registry.parents(version.id)}
    assert parents == {"base": base.id, "data": sums.id}
    assert sorted(entry.path for entry in registry.files(version.id)) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    recipe = yaml.safe_load(version.recipe)
    assert train_recipe_spec(registry, recipe) == jobs.spec(job.id)  # the recipe makes the same job again
    text = version.recipe + (version.path / "adapter_config.json").read_text()
    assert str(jobs.home) not in text
    assert str(Path(base.metadata["folder"])) not in text


def test_a_merge_job_registers_the_merge_with_its_parents(
    jobs: Jobs, registry: Registry, adapters: tuple[Version, Version], a_merge: Callable[[str], JobSpec]
) -> None:
    job = done(jobs, jobs.submit(a_merge("both")).id)
    version = registry.get("both")
    assert job.result == version.id
    parents = {(role, parent.label) for role, parent in registry.parents(version.id) if parent}
    assert parents == {("input", "left:v1"), ("input", "right:v1")}
    assert (version.base, version.metadata["trainer"], version.metadata["method"]) == (
        adapters[0].base,
        "merge",
        "linear",
    )
    assert version.metadata["paper"] == "arXiv:2203.05482"
    assert version.metadata["rank"] == 8
    assert version.metadata["metrics"]["energy_kept"] == pytest.approx(1, abs=1e-6)
    recipe = yaml.safe_load(version.recipe)
    assert [each["model"] for each in recipe["models"]] == [f"sha256:{each.id}" for each in adapters]
    assert (version.path / "recipe.yaml").read_text() == version.recipe
    written = "".join((version.path / name).read_text() for name in ("recipe.yaml", "merge_report.json"))
    assert str(jobs.home) not in written


def test_a_damaged_input_stops_the_merge_before_it_begins(
    jobs: Jobs, registry: Registry, adapters: tuple[Version, Version], a_merge: Callable[[str], JobSpec]
) -> None:
    weights = adapters[0].path / "adapter_model.safetensors"
    spec = a_merge("both")
    weights.chmod(0o644)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    job = jobs.wait(jobs.submit(spec).id, LONG_S)
    assert job.state == "failed"
    assert job.error == (
        "left:v1 is damaged: adapter_model.safetensors is changed. "
        "Run `medley registry verify`, and import or train it again."
    )
    assert not registry.exists("both")

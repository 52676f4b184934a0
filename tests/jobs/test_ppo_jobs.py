"""PPO as a job: killed in mid-run and retried, it publishes the very version of an undisturbed run."""

import os
import signal

from hub import Registry, Version
from medley.jobs import Jobs, train_spec
from tests.jobs.conftest import LONG_S, done, wait_for_event

OPTIONS = {"updates": 30, "batch_size": 4, "max_new_tokens": 6, "save_every": 5, "device": "cpu"}
OPTIONS |= {"learning_rate": 1e-3, "temperature": 1.0, "reward": ["matches:e"], "gold_reward": ["brevity"]}


def test_a_ppo_run_killed_and_retried_makes_what_an_undisturbed_one_makes(
    jobs: Jobs, registry: Registry, base: Version, sums: Version, adapters: tuple[Version, Version]
) -> None:
    """It learns from the prompts of SFT rows, held to the adapter `left`, which stands as reference in its lineage."""
    spec = train_spec(registry, "ppo", data="sums", name="eager", init="left", options=OPTIONS)
    killed = jobs.submit(spec)
    wait_for_event(jobs, killed.id, "checkpoint")
    os.kill(jobs.get(killed.id).pid, signal.SIGKILL)
    assert jobs.wait(killed.id, LONG_S).state == "lost"
    assert not registry.exists("eager")

    again = done(jobs, jobs.retry(killed.id).id)
    metrics = [event for event in jobs.events(again.id)[0] if event["kind"] == "metric"]
    assert metrics[0]["step"] % OPTIONS["save_every"] == 1  # the first update after a checkpoint
    assert metrics[-1]["step"] == OPTIONS["updates"]
    undisturbed = done(jobs, jobs.submit(spec).id)
    assert again.result == undisturbed.result == registry.get("eager").id
    parents = {role: parent.id for role, parent in registry.parents(again.result)}
    assert parents == {"base": base.id, "data": sums.id, "reference": adapters[0].id}
    assert set(registry.get("eager").metadata["metrics"]) >= {"scores", "scores_before", "gold", "kl"}

"""Training from the command line: followed, in the background, stopped, retried, left by Ctrl-C."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from hub import open_registry
from medley.jobs import Jobs, open_jobs
from tests.cli.conftest import TINY_TRAINING, Here, Run, Start, assert_refused, kept_in

LONG_S = 240  # to wait for what must come: a busy machine is slow, not wrong
ENDLESS = ("--max-steps", "100000", "--save-every", "5")


def wait_for(jobs: Jobs, id: str, kind: str) -> None:
    """Until the job has told of something of this kind."""
    deadline = time.monotonic() + LONG_S
    while time.monotonic() < deadline:
        if any(event["kind"] == kind for event in jobs.events(id)[0]):
            return
        assert not jobs.get(id).is_finished, jobs.log_tail(id)
        time.sleep(0.05)
    raise AssertionError(f"no {kind} in {LONG_S} s; the log: {jobs.log_tail(id)}")


@pytest.mark.processes
def test_a_training_that_is_followed(stocked: Path, medley: Run, here: Here) -> None:
    ran = medley("train", "sft", *TINY_TRAINING, "--name", "adder", "--max-steps", "3", "--json", check=True)
    registry = open_registry(stocked)
    adder, [job] = registry.get("adder"), open_jobs(stocked).list()
    assert f'"result": "{adder.id}"' in ran.stdout
    assert ran.stderr == f"Job {job.id}: Train adder (sft) on sums:v1\n"
    assert (adder.metadata["trainer"], adder.metadata["steps"], adder.metadata["licence"]) == ("sft", 3, "cc0-1.0")

    path = stocked.parent / "again.yaml"
    path.write_text(adder.recipe)
    again = here("train", path, ok=True)  # the recipe beside the adapter makes the same adapter
    assert again.out == f"Done: adder (sha256:{adder.id[:8]}).\n"
    assert [version.number for version in registry.versions("adder")] == [1]

    rows = here("job", "list", ok=True).out.splitlines()
    assert rows[0].split() == ["ID", "STATE", "KIND", "TITLE", "CREATED"]
    assert [row.split()[1:3] for row in rows[1:]] == [["done", "train"], ["done", "train"]]
    second = rows[1].split()[0]
    beside = here("job", "compare", job.id, second, ok=True).out.splitlines()
    assert beside[0].split() == ["SETTING", job.id.upper(), second.upper()]
    assert beside[1].split() == ["(none", "differs)"]
    loss = here("job", "compare", job.id, second, "--json", ok=True).json["curves"]["loss"]
    assert [step for step, _ in loss[0]] == [1, 2, 3]
    assert loss[0] == loss[1]
    shown = here("job", "show", job.id, ok=True).out.splitlines()
    assert shown[:3] == [
        f"job       {job.id}",
        "state     done",
        "what      Train adder (sft) on sums:v1",
    ]
    assert f"result    adder (sha256:{adder.id[:8]})" in shown
    assert here("job", "show", job.id, "--json", ok=True).json["output_name"] == "adder"


@pytest.mark.processes
def test_in_the_background_stopped_and_retried_from_its_checkpoint(stocked: Path, here: Here) -> None:
    queued = here("train", "sft", *TINY_TRAINING, *ENDLESS, "--name", "adder", "--background", ok=True)
    jobs = open_jobs(stocked)
    [job] = jobs.list()
    assert queued.out == f"Job {job.id} is running. Follow it: medley job logs {job.id} -f\n"
    assert queued.err == ""
    wait_for(jobs, job.id, "checkpoint")
    assert here("job", "stop", job.id, ok=True).out == f"Job {job.id} is stopping.\n"
    assert here("job", "logs", job.id, "-f", ok=True).out == f"Job {job.id} is stopped.\n"
    assert_refused(
        here("job", "stop", job.id), says=f"Job '{job.id}' has ended already (stopped); there is nothing to stop."
    )
    assert not open_registry(stocked).exists("adder")

    again = here("job", "retry", job.id, "--json", ok=True).json
    assert again["resumed_from"] == job.id
    wait_for(jobs, again["id"], "metric")
    first = jobs.events(again["id"])[0]
    texts = [event["text"] for event in first if event["kind"] == "progress"]
    assert any(text.startswith("Going on from step ") and text.endswith(f" of {job.id}") for text in texts)
    refused = here("job", "retry", job.id)
    assert refused.err == f"Error: Job '{job.id}' is being retried already, as '{again['id']}'.\n"
    jobs.stop(again["id"], now=True)
    assert jobs.wait(again["id"], LONG_S).state == "stopped"


@pytest.mark.processes
def test_ctrl_c_without_a_terminal_leaves_the_job_running(stocked: Path, start: Start) -> None:
    followed = start("train", "sft", *TINY_TRAINING, *ENDLESS, "--name", "adder", stdin=subprocess.DEVNULL)
    first = followed.stderr.readline()
    jobs = open_jobs(stocked)
    [job] = jobs.list()
    assert first == f"Job {job.id}: Train adder (sft) on sums:v1\n"
    wait_for(jobs, job.id, "progress")
    followed.send_signal(signal.SIGINT)
    out, err = followed.communicate(timeout=60)
    assert (followed.returncode, out) == (130, "")
    assert err == f"Job {job.id} goes on. Follow it: medley job logs {job.id} -f\n"
    assert jobs.get(job.id).state == "running"
    wait_for(jobs, job.id, "metric")
    jobs.stop(job.id, now=True)
    assert jobs.wait(job.id, LONG_S).state == "stopped"


@pytest.mark.processes
def test_ctrl_c_in_a_terminal_asks_whether_to_stop(stocked: Path, start: Start) -> None:
    typing, terminal = os.openpty()
    followed = start("train", "sft", *TINY_TRAINING, *ENDLESS, "--name", "adder", stdin=terminal)
    followed.stderr.readline()
    jobs = open_jobs(stocked)
    [job] = jobs.list()
    wait_for(jobs, job.id, "metric")
    followed.send_signal(signal.SIGINT)
    os.write(typing, b"y\n")
    out, err = followed.communicate(timeout=60)
    os.close(typing)
    os.close(terminal)
    assert (followed.returncode, out) == (1, "")
    assert err == (  # the answer's own line end is the terminal's echo
        "\nStop the job? (No leaves it running.) [y/N]: "
        f"Error: Job {job.id} was stopped. Go on with it: medley job retry {job.id}\n"
    )
    assert jobs.get(job.id).state == "stopped"


@pytest.mark.processes
def test_a_training_that_fails_says_why_in_one_line(stocked: Path, here: Here) -> None:
    too_wide = ("--init", "pissa", "--rank", "64")  # for the base's layers, as only the worker sees
    ended = here("train", "sft", *TINY_TRAINING, *too_wide, "--max-steps", "1", "--name", "adder", "--json")
    [job] = open_jobs(stocked).list()
    assert (ended.code, ended.json["state"]) == (1, "failed")
    first, last = ended.err.splitlines()
    assert first == f"Job {job.id}: Train adder (sft) on sums:v1"
    assert last == f"Error: {job.error}"
    assert "init pissa needs a rank of at most 32" in last


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--rank", "0"], "rank must be in [1, 1024], got 0."),
        (["--learning-rate", "nan"], "learning_rate must be in (0, 10], got nan."),
        (["--data", "left"], "'left' is an adapter, not a dataset."),
        (["--data", "summs"], "There is no dataset named 'summs'. Did you mean 'sums'?"),
        (["--base", "left"], "'left' is an adapter, not a base."),
        (["--name", "sums"], "The name 'sums' belongs to a version of kind dataset. Choose another one."),
        (["--name", "CON"], "The name 'CON' cannot be used. Use lower-case letters, digits, '.', '_' and '-', and "
                            "begin with a letter or digit."),
        (["--from", "x9"], "There is no adapter named 'x9'."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_anything_is_queued(
    stocked: Path, here: Here, flags: list[str], says: str
) -> None:
    before = kept_in(stocked)
    ended = here("train", "sft", *TINY_TRAINING, "--name", "adder", *flags)
    assert_refused(ended, says=says)
    assert kept_in(stocked) == before


def test_a_recipe_with_several_mistakes(stocked: Path, here: Here, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"trainer": "sft", "data": "sums", "nmae": "x"}))
    ended = here("train", path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "Error: 2 problems in the recipe:\n  There is no option 'nmae'. Did you mean 'name'?\n  'name' is missing.\n"
    )
    assert_refused(here("train", "gone.yaml"), says="There is no recipe 'gone.yaml'.")


def test_a_dry_run_shows_memory_time_and_recipe_and_starts_nothing(stocked: Path, here: Here) -> None:
    before = kept_in(stocked)
    shown = here("train", "sft", *TINY_TRAINING, "--name", "adder", "--max-steps", "3", "--dry-run", ok=True).out
    table, facts, recipe = shown.split("\n\n")
    assert table.splitlines()[0] == "MEMORY AT THE PEAK"
    assert [line.split()[0] for line in table.splitlines()[1:]] == [
        *("libraries", "weights", "adapter", "optimizer", "activations", "logits", "overhead", "total"),
    ]
    assert [line.split("  ")[0] for line in facts.splitlines()] == [
        *("this machine has", "optimizer steps", "longest row", "time", "time is from"),
    ]
    assert yaml.safe_load(recipe)["options"]["max_steps"] == 3
    assert kept_in(stocked) == before

    path = stocked.parent / "recipe.yaml"
    path.write_text(recipe)
    again = here("train", path, "--dry-run", "--json", ok=True).json
    assert again["recipe"] == yaml.safe_load(recipe)
    assert again["estimate"]["total_bytes"] == sum(again["estimate"]["parts"].values())
    assert (again["estimate"]["steps"], again["libraries_bytes"]) == (3, 550_000_000)
    assert kept_in(stocked) == before


def test_presets_are_shown_with_their_sources(here: Here) -> None:
    shown = here("train", "presets", ok=True).out.splitlines()
    assert shown[0] == "quick: See within minutes whether the data teaches what you want."
    assert shown[1] == "  sft  epochs=1.0  rank=8  learning_rate=0.0005  max_length=512"
    assert shown[2].startswith("    from one pass at a high rate; ")
    as_json = here("train", "presets", "--json", ok=True).json
    assert list(as_json) == ["quick", "balanced", "thorough"]
    assert as_json["balanced"]["values"]["sft"]["epochs"] == 3.0


def test_help_shows_first_what_matters(here: Here) -> None:
    text = here("train", "sft", "--help", ok=True).out
    first, more = text.split("\nMore options:\n")
    assert "--learning-rate" in first
    assert "--weight-decay" in more
    assert "--data TEXT" in first


def test_a_list_flag_may_be_given_several_times(stocked: Path, here: Here) -> None:
    """A second --reward that took the place of the first would train on another reward than was asked for."""
    rewards = ("--reward", "brevity=0.3,matches:a{1,2}", "--reward", "sentiment")
    planned = here("train", "ppo", "--base", "tiny", "--data", "sums", "--name", "it", *rewards, "--dry-run", ok=True)
    recipe = yaml.safe_load(planned.out[planned.out.index("trainer: ppo") :])
    assert recipe["options"]["reward"] == ["brevity=0.3", "matches:a{1,2}", "sentiment"]

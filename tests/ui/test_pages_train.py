"""The Train page's handlers: what a form means, how a run starts, and what its page shows at every stage."""

import re
import shlex

import pytest
import yaml

from hub import Version
from medley.jobs import JobSpec
from medley.ui import estimate_card, run_parts, train, train_fields, train_form, train_plan, train_run
from medley.ui.run_view import RunView
from medley.ui.workspace import Workspace
from tests.ui.conftest import HOSTILE, assert_harmless


def form(**changes: object) -> list:
    """The values of the option controls, at their defaults but for the changes."""
    options = train_fields.fields_of("sft")
    values = dict(zip([each.name for each in options], train_fields.preset_values("sft", "balanced"), strict=True))
    assert set(changes) <= set(values)
    return list({**values, **changes}.values())


def place(part: str) -> int:
    """Where a part of the run's page stands among the values of `train_run.show`."""
    return 2 + train_run.PARTS.index(part)


HEAD, CURVES, STATUS = place("head"), place("curves"), place("status")
QUICK = {"max_steps": "4", "rank": 2, "batch_size": 2, "max_length": 64, "samples": 1, "sample_tokens": 4,
         "save_every": 2, "eval_every": 2, "device": "cpu"}  # fmt: skip


def test_settings_that_matter_come_first() -> None:
    names = [each.name for each in train_fields.fields_of("sft")]
    assert names.index("quant") < names.index("alpha")
    assert train_form.goals()[0] == "Teach by examples"


def test_a_preset_fills_the_form() -> None:
    names = [each.name for each in train_fields.fields_of("sft")]
    values = dict(zip(names, train_fields.preset_values("sft", "quick"), strict=True))
    assert (values["rank"], values["epochs"], values["max_steps"], values["dropout"]) == (8, 1.0, "", 0.0)


def test_the_command_and_the_recipe_say_the_same(workspace: Workspace, dataset: Version, base: Version) -> None:
    from medley.jobs import train_recipe_spec, train_spec

    options = train_fields.read_options("sft", tuple(form(rank=4, rslora=True, targets="q_proj, v_proj")))
    recipe = train_plan.recipe("sft", "tiny-base", "sums", "sums-4", train_plan.START, options)
    assert shlex.split(train_plan.command(recipe)) == [
        "medley", "train", "sft", "--base", "tiny-base", "--data", "sums", "--name", "sums-4", "--rank", "4",
        "--targets", "q_proj,v_proj", "--rslora"]  # fmt: skip
    by_recipe = train_recipe_spec(workspace.registry, yaml.safe_load(yaml.safe_dump(recipe)))
    by_form = train_spec(workspace.registry, "sft", base="tiny-base", data="sums", name="sums-4", options=options)
    assert by_recipe == by_form


def test_the_plan_says_what_the_run_needs(workspace: Workspace, dataset: Version, base: Version) -> None:
    html, recipe = train_plan.plan(workspace, "sft", "tiny-base", "sums", "", train_plan.START, form())
    assert "18 to learn from, 2 to measure on" in html
    assert "<dt>Steps</dt><dd>9</dd>" in html  # 18 rows, 8 a step, 3 epochs
    assert "of memory at the peak" in html
    assert "fits</span>" in html
    assert "medley train sft --base tiny-base --data sums --name NAME" in html
    assert "trainer: sft" in recipe


def test_what_will_not_fit_is_refused_with_what_would(
    workspace: Workspace, dataset: Version, base: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medley.jobs.estimate.total_memory", lambda device: 700_000_000)
    values = form(batch_size=8)
    html = train_plan.plan(workspace, "sft", "tiny-base", "sums", "", train_plan.START, values)[0]
    assert "but this machine has 0.7 GB" in html
    assert "check_memory=false" in html
    notice = train_form.start(workspace, "sft", "tiny-base", "sums", "big", train_plan.START, values)[1]
    assert "but this machine has 0.7 GB" in notice
    assert workspace.jobs.list() == []


def test_the_bar_shows_every_part() -> None:
    from trainers.estimate import Estimate

    found = Estimate({"weights": 300_000_000, "adapter": 150_000_000, "cache": 0}, 12, 90, (70.0, 280.0), "a guess")
    html = estimate_card.memory_bar(found, 1_100_000_000)
    assert re.findall(r"width:([\d.]+)%", html) == ["55.0", "30.0", "15.0"]  # libraries, weights, adapter
    assert "About 1 GB of 1.1 GB" in html
    assert "tight" in html
    assert "does not fit" in estimate_card.memory_bar(found, 900_000_000)
    assert "chip" not in estimate_card.memory_bar(found, None)
    assert estimate_card.time_text((70.0, 280.0)) == "1 min 10 s to 4 min 40 s"


def test_an_empty_registry_says_what_is_missing(workspace: Workspace) -> None:
    html = train_plan.plan(workspace, "sft", "", "", "", train_plan.START, form())[0]
    assert "Choose a dataset" in html
    assert "No dataset for this yet" in train_form.data_note("sft", train_form.data_choices(workspace, "sft"))
    assert "Choose a dataset to learn from." in train_form.start(workspace, "sft", "", "", "x", "", form())[1]


@pytest.mark.parametrize(
    ("name", "changes", "sentences"),
    [
        (" ", {}, ["Give the adapter a name, for example &#x27;pirate&#x27;."]),
        ("Bad Name", {}, ["Bad Name"]),
        ("sums", {}, ["belongs to a version of kind dataset"]),
        ("ok", {"rank": 0, "learning_rate": 30}, ["rank must be in [1, 1024], got 0.", "learning_rate must be"]),
        ("ok", {"targets": "q_proj", "max_steps": "soon"}, ["max_steps must be a whole number, got &#x27;soon&#x27;."]),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_queued(
    workspace: Workspace, dataset: Version, base: Version, name: str, changes: dict, sentences: list[str]
) -> None:
    address, notice = train_form.start(workspace, "sft", "tiny-base", "sums", name, train_plan.START, form(**changes))
    assert address == ""
    assert all(sentence in notice for sentence in sentences), notice
    assert workspace.jobs.list() == []


def test_a_visitor_cannot_train(read_only: Workspace, dataset: Version, base: Version) -> None:
    notice = train_form.start(read_only, "sft", "tiny-base", "sums", "x", train_plan.START, form())[1]
    assert "Training is switched off here" in notice
    assert "Stopping a run is switched off" in train_run.stop_run(read_only, "train-x")[0]
    assert "Training is switched off" in train_run.retry_run(read_only, "train-x")[1]


def test_a_run_is_shown_from_start_to_end(workspace: Workspace, dataset: Version, base: Version) -> None:
    values = form(**QUICK)
    address, notice = train_form.start(workspace, "sft", "tiny-base", "sums", "short", train_plan.START, values)
    assert notice == ""
    job_id = address.partition("job=")[2]
    first = train_run.show(workspace, job_id, None, None)
    assert "Train short (sft) on sums:v1" in first[HEAD]
    assert workspace.jobs.wait(job_id, 120).state == "done"
    shown = train_run.show(workspace, job_id, first[1], None)
    assert "training loss" in shown[CURVES]
    assert "Learning rate" in shown[place("more")]
    assert "Step 4" in shown[place("samples")]
    assert re.findall(r"<td>step (\d)</td>", shown[place("checkpoints")]) == ["4", "2"]
    assert "Compare with its base" in shown[STATUS]
    assert "Eval loss" in shown[STATUS]
    assert not shown[-1].active
    again = train_run.show(workspace, job_id, shown[1], None)[HEAD : STATUS + 1]
    assert [part for part in again if isinstance(part, str)] == []
    fresh = train_run.show(workspace, job_id, None, None)
    assert fresh[CURVES] == shown[CURVES]
    assert "short" in train.runs_card(workspace)
    assert "./registry?name=short" in train.runs_card(workspace)


def test_two_runs_lie_over_each_other(workspace: Workspace, dataset: Version, base: Version) -> None:
    ids = []
    for name, rank in (("one", 2), ("two", 4)):
        values = form(**{**QUICK, "rank": rank})
        address = train_form.start(workspace, "sft", "tiny-base", "sums", name, train_plan.START, values)[0]
        ids.append(address.partition("job=")[2])
    assert {workspace.jobs.wait(job_id, 120).state for job_id in ids} == {"done"}
    shown = train_run.open_run(workspace, ids[0], ids[1])
    assert shown[0].value == ids[1]
    assert f"training loss, {ids[1]}" in shown[1 + CURVES]
    beside = shown[1 + place("beside")]
    assert "Name</span></td><td>one</td><td>two" in beside
    assert "Rank</span></td><td>2</td><td>4" in beside
    assert "Epochs" not in beside


def test_an_unknown_run_is_told(workspace: Workspace) -> None:
    shown = train_run.show(workspace, "train-nope", None, None)
    assert "There is no job" in shown[CURVES]
    assert not shown[-1].active


def test_what_a_worker_writes_is_text(workspace: Workspace) -> None:
    """A sample, a warning and an error are as hostile as the model and the data they come from."""
    job = workspace.jobs.store.add(JobSpec("train", HOSTILE[0], {}, "x"), resumed_from=None)
    view = RunView(job.id)
    view.take({"kind": "sample", "step": HOSTILE[1], "prompt": HOSTILE[2], "text": " ".join(HOSTILE)})
    view.take({"kind": "warning", "text": HOSTILE[0]})
    for html in (run_parts.samples_card(view), run_parts.status_card(workspace, job, view), run_parts.run_head(job)):
        assert_harmless(html)
        assert "&lt;img src=x onerror=alert(1)&gt;" in html

"""The queue drains by itself, in order, one job of a lane at a time, whoever comes, goes or is killed.

The slow jobs here are real ones whose worker was frozen, so that nothing depends on how fast the machine is.
"""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Registry
from medley.errors import JobError, NotFoundError
from medley.jobs import Grace, Jobs, JobSpec, open_jobs
from medley.jobs.job import Job
from medley.jobs.process import ProcessName, identify, is_alive
from medley.jobs.queue import reconcile
from tests.jobs.conftest import LONG_S, done, wait_until_gone

SUBMIT = """
import sys
from medley.jobs import open_jobs, parse_spec
spec = parse_spec(sys.stdin.read())
job = open_jobs().submit(spec)
print(job.id, flush=True)
"""


def test_an_import_runs_to_its_end(jobs: Jobs, registry: Registry, an_import: Callable[[str], JobSpec]) -> None:
    job = done(jobs, jobs.submit(an_import("sums-file")).id)
    version = registry.get("sums-file")
    assert job.result == version.id
    assert (version.kind, version.metadata["kind"], version.metadata["rows"]) == ("dataset", "sft", 20)
    assert version.metadata["job"] == job.id
    assert version.recipe is not None
    assert "sums.jsonl" in version.recipe
    assert str(Path(os.environ["MEDLEY_HOME"]).parent) not in version.recipe  # only the file's name
    assert [event["kind"] for event in jobs.events(job.id)[0]][-1] == "artifact"
    assert not job.out_dir.exists()


def test_a_lane_runs_its_jobs_one_after_the_other_in_order(
    jobs: Jobs, an_import: Callable[[str], JobSpec], freeze: Callable[[Job], None]
) -> None:
    first = jobs.submit(an_import("one"))
    freeze(first)
    second, third = jobs.submit(an_import("two")), jobs.submit(an_import("three"))
    assert [job.state for job in jobs.list()] == ["queued", "queued", "running"]
    assert [jobs.queue_position(job) for job in (first, second, third)] == [None, 1, 2]
    os.kill(first.pid, signal.SIGCONT)
    ended = [done(jobs, job.id) for job in (first, second, third)]
    assert all(before.finished <= after.started for before, after in itertools.pairwise(ended))


def test_the_queue_drains_although_nobody_looks(
    jobs: Jobs, an_import: Callable[[str], JobSpec], freeze: Callable[[Job], None]
) -> None:
    """The worker that ends starts the next; rows are read here without the calls that tidy up."""
    first = jobs.submit(an_import("one"))
    freeze(first)
    second = jobs.submit(an_import("two"))
    os.kill(first.pid, signal.SIGCONT)
    deadline = time.monotonic() + LONG_S
    while not jobs.store.get(second.id).is_finished and time.monotonic() < deadline:
        time.sleep(0.05)
    assert jobs.store.get(second.id).state == "done"


def test_lanes_run_beside_each_other(
    jobs: Jobs,
    an_import: Callable[[str], JobSpec],
    a_merge: Callable[[str], JobSpec],
    freeze: Callable[[Job], None],
) -> None:
    merge = jobs.submit(a_merge("both"))
    freeze(merge)
    done(jobs, jobs.submit(an_import("rows")).id)
    assert jobs.get(merge.id).state == "running"


def test_a_killed_worker_is_lost_and_the_next_is_started(
    jobs: Jobs, an_import: Callable[[str], JobSpec], freeze: Callable[[Job], None]
) -> None:
    first = jobs.submit(an_import("one"))
    freeze(first)
    second = jobs.submit(an_import("two"))
    os.kill(first.pid, signal.SIGKILL)
    wait_until_gone(first.process)
    listed = {job.id: job for job in jobs.list()}
    assert listed[first.id].state == "lost"
    assert listed[first.id].error == (
        "The worker ended without a result: it was killed, ran out of memory, or the machine restarted."
    )
    done(jobs, second.id)
    again = jobs.retry(first.id)
    assert again.resumed_from == first.id
    assert done(jobs, again.id).output_name == "one"
    assert jobs.get(first.id).state == "lost"


@pytest.mark.parametrize(("kind", "stays"), [("fold", False), ("extract", False), ("train", True)])
def test_what_a_killed_merge_had_written_is_removed(jobs: Jobs, kind: str, stays: bool) -> None:
    """Half a model can be gigabytes and helps no retry; a training's checkpoints do."""
    job = jobs.store.add(JobSpec(kind, "Work", {}, "name"), resumed_from=None)
    jobs.store.mark_running(job.id, ProcessName(2**22 + 1, "gone"))  # no system has such a pid
    half = job.out_dir / ".model.1-0.merging" / "model.safetensors"
    half.parent.mkdir()
    half.write_bytes(b"half")
    reconcile(jobs.store, Grace())
    assert jobs.store.get(job.id).state == "lost"
    assert half.exists() == stays


def test_what_a_killed_fold_had_written_beside_its_folder_is_removed(jobs: Jobs, tmp_path: Path) -> None:
    """The user's place is as it was before; what another process writes to it at the same time stays."""
    out, killed = tmp_path / "models" / "chef", 2**22 + 1
    job = jobs.store.add(JobSpec("fold", "Work", {"out": str(out)}), resumed_from=None)
    jobs.store.mark_running(job.id, ProcessName(killed, "gone"))
    for pid in (killed, os.getpid()):
        (out.parent / f".chef.{pid}-0a1b2c3d.merging").mkdir(parents=True)
    reconcile(jobs.store, Grace())
    assert jobs.store.get(job.id).state == "lost"
    assert [path.name for path in out.parent.iterdir()] == [f".chef.{os.getpid()}-0a1b2c3d.merging"]


def test_two_submitters_at_once_start_exactly_one_worker(
    jobs: Jobs, an_import: Callable[[str], JobSpec], medley_home: Path
) -> None:
    """Eight processes hand in a job of one lane at the same moment; a lane's two workers would overlap in time."""
    command = [sys.executable, "-c", SUBMIT]
    submitters = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for number, process in enumerate(submitters):
        process.stdin.write(an_import(f"set-{number}").to_yaml())
    for process in submitters:
        process.stdin.close()
    ids = [process.stdout.read().strip() for process in submitters]
    for process in submitters:
        process.stdout.close()
        assert process.wait(60) == 0
    assert len(set(ids)) == 8
    ended = sorted((done(jobs, job_id) for job_id in ids), key=lambda job: job.started)
    assert all(before.finished <= after.started for before, after in itertools.pairwise(ended))
    assert len({job.pid for job in ended}) == 8
    logs = [path.read_text() for path in (medley_home / "jobs").glob("*/log.txt")]
    assert not any("done by another worker" in log for log in logs)


def test_killing_the_submitter_leaves_its_worker_alone(jobs: Jobs, a_merge: Callable[[str], JobSpec]) -> None:
    """SIGTERM to the app's whole process group, as a service manager or a closed terminal sends it, then SIGKILL."""
    app = subprocess.Popen(
        [sys.executable, "-c", SUBMIT + "import time; time.sleep(600)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    app.stdin.write(a_merge("both").to_yaml())
    app.stdin.close()
    job_id = app.stdout.readline().strip()
    os.killpg(app.pid, signal.SIGTERM)
    os.killpg(app.pid, signal.SIGKILL)
    app.wait(10)
    app.stdout.close()
    job = jobs.store.get(job_id)
    assert job.state in ("running", "done")
    done(jobs, job_id)


def test_a_worker_whose_starter_died_before_noting_it_claims_its_job(
    jobs: Jobs, an_import: Callable[[str], JobSpec]
) -> None:
    job = jobs.store.add(an_import("one"), resumed_from=None)  # queued, and nobody has started it
    worker = [sys.executable, "-m", "medley.jobs.worker", str(jobs.home), job.id]
    assert subprocess.run(worker, check=False, capture_output=True).returncode == 0
    assert jobs.store.get(job.id).state == "done"
    second = subprocess.run(worker, check=False, capture_output=True, text=True)
    assert second.returncode == 2
    assert second.stdout == f"Job {job.id} is done by another worker, or was stopped before it began.\n"


def test_stopping_a_frozen_worker_ends_in_sigkill(
    jobs: Jobs, an_import: Callable[[str], JobSpec], freeze: Callable[[Job], None]
) -> None:
    job = jobs.submit(an_import("one"))
    freeze(job)
    waiting = jobs.submit(an_import("two"))
    patient = open_jobs(jobs.home, grace=Grace(flag_s=600, term_s=600))
    assert patient.stop(job.id).state == "stopping"
    assert is_alive(job.process)
    pressing = open_jobs(jobs.home, grace=Grace(flag_s=0, term_s=0))
    assert pressing.wait(job.id, LONG_S).state == "stopped"
    assert not is_alive(job.process)
    done(pressing, waiting.id)


def test_a_worker_asked_to_stop_before_it_began_does_nothing(
    jobs: Jobs, registry: Registry, an_import: Callable[[str], JobSpec], freeze: Callable[[Job], None]
) -> None:
    job = jobs.submit(an_import("one"))
    freeze(job)
    assert jobs.stop(job.id).state == "stopping"
    os.kill(job.pid, signal.SIGCONT)
    assert jobs.wait(job.id, LONG_S).state == "stopped"
    assert jobs.events(job.id) == ([], 0)
    assert not registry.exists("one")


def test_a_queued_job_is_stopped_without_a_worker(
    jobs: Jobs, an_import: Callable[[str], JobSpec], freeze: Callable[[Job], None]
) -> None:
    first = jobs.submit(an_import("one"))
    freeze(first)
    second = jobs.submit(an_import("two"))
    assert jobs.stop(second.id).state == "stopped"
    assert jobs.get(second.id).pid is None
    with pytest.raises(JobError) as caught:
        jobs.stop(second.id)
    assert str(caught.value) == f"Job '{second.id}' has ended already (stopped); there is nothing to stop."
    os.kill(first.pid, signal.SIGCONT)
    done(jobs, first.id)
    assert jobs.get(second.id).started is None


def test_a_stale_pid_that_another_process_has_now_is_never_signalled(
    jobs: Jobs, an_import: Callable[[str], JobSpec]
) -> None:
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        job = jobs.store.add(an_import("one"), resumed_from=None)
        assert jobs.store.mark_running(job.id, ProcessName(bystander.pid, "an earlier start"))
        assert jobs.store.mark_stopping(job.id, 0)  # long overdue for SIGKILL
        assert jobs.get(job.id).state == "stopped"
        assert bystander.poll() is None
        assert identify(bystander.pid) is not None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_result_published_just_before_the_kill_counts(
    jobs: Jobs, registry: Registry, an_import: Callable[[str], JobSpec], freeze: Callable[[Job], None], tmp_path: Path
) -> None:
    """Killed between the publish and the word that it is done: the version is there, so the job is done."""
    job = jobs.submit(an_import("one"))
    freeze(job)
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "train.jsonl").write_text("{}\n")
    version = registry.publish("dataset", "one", folder, metadata={"job": job.id})
    os.kill(job.pid, signal.SIGKILL)
    wait_until_gone(job.process)
    settled = jobs.get(job.id)
    assert (settled.state, settled.result) == ("done", version.id)


def test_only_what_went_wrong_can_be_retried(
    jobs: Jobs, an_import: Callable[[str], JobSpec], freeze: Callable[[Job], None]
) -> None:
    job = jobs.submit(an_import("one"))
    freeze(job)
    with pytest.raises(JobError) as caught:
        jobs.retry(job.id)
    assert str(caught.value) == f"Job '{job.id}' is running; only a failed, stopped or lost job can be retried."
    os.kill(job.pid, signal.SIGKILL)
    wait_until_gone(job.process)
    again = jobs.retry(job.id)
    freeze(again)
    with pytest.raises(JobError) as caught:
        jobs.retry(job.id)
    assert str(caught.value) == f"Job '{job.id}' is being retried already, as '{again.id}'."


def test_an_unknown_job_is_named_with_the_nearest_one(jobs: Jobs, an_import: Callable[[str], JobSpec]) -> None:
    job = done(jobs, jobs.submit(an_import("one")).id)
    wrong = job.id[:-1] + "?"
    with pytest.raises(NotFoundError) as caught:
        jobs.get(wrong)
    assert str(caught.value) == f"There is no job '{wrong}'. Did you mean '{job.id}'?"

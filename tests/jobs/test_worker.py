"""How a worker ends: an error in one line with the traceback in the log, and no token in anything it writes."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Registry
from medley.jobs import Jobs, JobSpec, follow_job, import_spec
from medley.jobs.secrets import ScrubbedStream, scrub, scrub_value
from medley.jobs.worker import explain
from tests.jobs.conftest import LONG_S, done

TOKEN = "hf_" + "Zq9" * 12


def test_a_user_s_mistake_ends_in_one_line(jobs: Jobs, registry: Registry, rows_file: Path) -> None:
    spec = import_spec(registry, rows_file, name="rows")
    spec = dataclasses.replace(spec, params={**spec.params, "warnings": ["Another was taken."]})
    rows_file.unlink()
    job = jobs.wait(jobs.submit(spec).id, LONG_S)
    assert job.state == "failed"
    assert job.error is not None
    assert "sums.jsonl" in job.error
    assert len(job.error.splitlines()) == 1
    assert "Traceback" not in job.log_path.read_text()
    assert jobs.log_tail(job.id) == f"Error: {job.error}"
    assert [(event["kind"], event["text"]) for event in jobs.events(job.id)[0]] == [
        ("progress", "Starting"),
        ("warning", "Another was taken."),
        ("error", job.error),
    ]
    assert not registry.exists("rows")


def test_an_unforeseen_error_ends_in_its_last_line_with_the_traceback_in_the_log(jobs: Jobs) -> None:
    job = jobs.wait(jobs.submit(JobSpec("import", "Broken", {"source": {}}, "x")).id, LONG_S)
    assert (job.state, job.error) == ("failed", "KeyError: 'settings'. The log has the whole traceback.")
    assert "Traceback (most recent call last)" in job.log_path.read_text()


def test_a_damaged_spec_fails_its_job_only(jobs: Jobs, an_import: Callable[[str], JobSpec]) -> None:
    job = jobs.store.add(an_import("one"), resumed_from=None)
    job.spec_path.write_text("kind: [")
    jobs.reconcile()
    assert (
        jobs.wait(job.id, LONG_S).error
        == "The job's spec.yaml is not readable YAML; it was changed by hand or damaged."
    )
    done(jobs, jobs.submit(an_import("two")).id)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
            "RuntimeError: CUDA out of memory. Tried to allocate 2 GiB. The memory was not enough: try a smaller "
            "batch_size or max_length, or quant=4bit. The log has the whole traceback.",
        ),
        (
            OSError(28, "No space left on device"),
            "OSError: [Errno 28] No space left on device. The disk is full: free some space and retry the job. "
            "The log has the whole traceback.",
        ),
        (ValueError("a\nb."), "b. The log has the whole traceback."),
    ],
)
def test_likely_causes_are_told(error: Exception, line: str) -> None:
    assert explain(error) == line


def test_no_token_is_in_any_file_of_a_job(
    jobs: Jobs, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token in the environment and in the rows that an error message shows; both must not reach a file."""
    monkeypatch.setenv("HF_TOKEN", "my-secret-of-another-shape")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({TOKEN: 1, "my-secret-of-another-shape": 2}) + "\n")
    job = jobs.wait(jobs.submit(import_spec(registry, rows, name="rows")).id, LONG_S)
    assert job.state == "failed"
    assert "columns: hf_***, hf_***" in job.error
    written = [path.read_bytes() for path in jobs.home.rglob("*") if path.is_file()]
    assert len(written) > 3
    assert not any(TOKEN.encode() in data or b"my-secret-of" in data for data in written)


def test_scrubbing_keeps_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert scrub(f"token {TOKEN}!") == "token hf_***!"
    assert scrub("hf_transfer, hf_hub") == "hf_transfer, hf_hub"
    assert scrub_value({"a": [TOKEN, 1, None], "b": (TOKEN,)}) == {"a": ["hf_***", 1, None], "b": ["hf_***"]}
    plain = io.StringIO()
    stream = ScrubbedStream(plain)
    print("a", TOKEN, file=stream)
    stream.writelines([TOKEN, "\n"])
    stream.flush()
    assert plain.getvalue() == "a hf_***\nhf_***\n"


def test_events_are_read_by_offset_without_gap_or_repeat(jobs: Jobs, an_import: Callable[[str], JobSpec]) -> None:
    job = done(jobs, jobs.submit(an_import("one")).id)
    whole, end = jobs.events(job.id)
    assert end == job.events_path.stat().st_size
    assert jobs.events(job.id, end) == ([], end)
    first_line = job.events_path.read_bytes().index(b"\n") + 1
    rest, again = jobs.events(job.id, first_line)
    assert (rest, again) == (whole[1:], end)
    followed = list(follow_job(jobs, job.id, offset=first_line))
    assert followed == [*whole[1:], {"kind": "state", "state": "done", "offset": end}]

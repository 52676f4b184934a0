"""What a run tells of itself beside its losses: speed without padding, memory, and checkpoints that are whole."""

from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from trainers import TrainWork, reporting
from trainers.reporting import Reporter, peak_memory_gb


@pytest.fixture
def told() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def reporter(told: list[tuple[str, dict[str, Any]]], tmp_path: Any) -> Reporter:
    work = TrainWork(tmp_path, "org/base", tmp_path, tmp_path, emit=lambda kind, **fields: told.append((kind, fields)))
    return Reporter(work)


def test_tokens_a_second_of_the_step_alone(
    reporter: Reporter, told: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Between two steps lies a measurement of 100 s, which is not training: (300 - 100) tokens / 0.5 s."""
    moments = iter([0.0, 1.0, 101.0, 101.5])
    monkeypatch.setattr(reporting.time, "perf_counter", lambda: next(moments))
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    state, control = TrainerState(max_steps=2), TrainerControl()
    for step, tokens in ((1, 100), (2, 300)):
        state.global_step = step
        reporter.on_step_begin(args, state, control)
        reporter.on_step_end(args, state, control)
        reporter.on_log(args, state, control, logs={"loss": 1.0, "num_tokens": tokens})
    first, second = (fields for kind, fields in told if kind == "metric")
    assert "tokens_per_second" not in first  # how many there were before a start or a resume is not known
    assert second["tokens_per_second"] == 400
    assert first["memory_gb"] == pytest.approx(peak_memory_gb(), rel=0.5)


def test_a_measurement_has_no_speed(reporter: Reporter, told: list[tuple[str, dict[str, Any]]], tmp_path: Any) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    reporter.on_log(args, TrainerState(global_step=1), TrainerControl(), logs={"eval_loss": 1.0, "num_tokens": 5})
    assert told == [("metric", {"step": 1, "eval_loss": 1.0, "num_tokens": 5})]


def test_memory_is_in_gigabytes_of_this_process() -> None:
    import resource

    assert peak_memory_gb() == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, rel=0.1)
    assert 0.1 < peak_memory_gb() < 20

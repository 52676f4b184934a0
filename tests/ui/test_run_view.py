"""A run's events become what the page shows; reading in pieces, from the start or after a resume shows the same."""

import time

from medley.ui.run_view import RunView


def view_of_events(*events: dict) -> RunView:
    view = RunView("train-abc")
    for event in events:
        view.take(event)
    return view


def metric(step: int, **values: float) -> dict:
    return {"kind": "metric", "time": 0.0, "step": step, **values}


def test_metrics_become_curves() -> None:
    view = view_of_events(metric(1, loss=4.0), metric(2, loss=3.0, learning_rate=1e-4), metric(2, eval_loss=3.5))
    assert view.curve("loss") == [(1.0, 4.0), (2.0, 3.0)]
    assert view.curve("eval_loss") == [(2.0, 3.5)]
    assert view.latest == {"loss": 3.0, "learning_rate": 1e-4, "eval_loss": 3.5}


def test_after_a_resume_the_later_value_of_a_step_counts() -> None:
    view = view_of_events(metric(1, loss=4.0), metric(2, loss=3.0), metric(2, loss=2.9), metric(3, loss=2.0))
    assert view.curve("loss") == [(1.0, 4.0), (2.0, 2.9), (3.0, 2.0)]


def test_time_left_comes_from_the_last_steps_of_this_phase() -> None:
    now = time.time()
    steps = [{"kind": "progress", "time": now - 10 + i, "step": i, "total": 20, "text": "Training"} for i in range(11)]
    view = view_of_events({"kind": "progress", "time": now - 999, "step": 1, "total": 1, "text": "Loading"}, *steps)
    assert view.share == 0.5
    assert 9.0 <= view.seconds_left <= 10.0


def test_before_two_steps_there_is_no_guess() -> None:
    view = view_of_events({"kind": "progress", "time": 1.0, "step": 0, "total": 20, "text": "Training"})
    assert view.seconds_left is None
    assert RunView("x").share is None


def test_strange_events_are_passed_over() -> None:
    view = view_of_events(
        {"kind": "metric", "step": None, "loss": None, "note": "x", "flag": True},
        {"kind": "progress", "step": "three", "total": None},
        {"kind": "later-invention", "x": 1},
        {},
        {"kind": "sample"},
        {"kind": "checkpoint", "step": 20, "path": "checkpoint-20"},
    )
    assert (view.metrics, view.step, view.total, view.checkpoints, len(view.samples)) == ({}, 0, 0, [(20, 0.0)], 1)


def test_of_many_samples_the_first_step_and_the_newest_stay() -> None:
    view = view_of_events(*({"kind": "sample", "step": step, "text": "x"} for step in [0, 0, *range(1, 200)]))
    steps = [each["step"] for each in view.samples]
    assert len(steps) == 60
    assert steps[:3] == [0, 0, 142]
    assert steps[-1] == 199

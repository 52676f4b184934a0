"""A finished run's numbers become sentences, good ones and bad ones apart; charts hold every number there is."""

from medley.jobs import JobSpec
from medley.ui import job_rows, run_charts
from medley.ui.run_results import sentences
from medley.ui.run_view import RunView
from medley.ui.workspace import Workspace

JUDGE = {
    "eval_accuracy": 0.63, "eval_accuracy_low": 0.58, "eval_accuracy_high": 0.68, "eval_longer_wins": 0.45,
    "eval_shorter_wins": 0.55, "eval_gain_low": 0.02, "eval_margin": 0.4,
}  # fmt: skip


def test_a_reward_model_is_told_beside_the_better_length_rule() -> None:
    text = "Accuracy 0.63 ± 0.05 on held-out pairs, against 0.55 for 'shorter wins': it beats that rule."
    assert sentences(JUDGE) == ([text], [])
    worse = sentences({**JUDGE, "eval_gain_low": -0.01})
    assert worse == ([], [text.replace("it beats", "it does not beat")])


def test_a_gamed_reward_is_no_success() -> None:
    numbers = {"scores_before": 0.1, "scores": 0.9, "gold_before": 0.5, "gold": 0.2, "kl": 4.5}
    good, bad = sentences(numbers)
    assert good == ["Reward 0.10 at first, 0.90 at the end.", "KL to the reference: 4.5 nats an answer."]
    assert bad == ["Gold reward 0.50 at first, 0.20 at the end."]


def test_the_distance_has_its_error() -> None:
    numbers = {"kl/sequence": 1.5, "kl/sequence_se": 0.25, "eval_rewards/accuracies": 0.75}
    assert sentences(numbers)[0] == [
        "75% of the eval pairs have the chosen answer ahead.",
        "KL to the reference: 1.5 ± 0.5 nats an answer.",
    ]
    assert sentences({"steps": "many"}) == ([], [])


def view_with(*names: str) -> RunView:
    view = RunView("train-abc")
    for step in (1, 2):
        view.take({"kind": "metric", "step": step, **{name: float(step) for name in names}})
    return view


def test_proxy_and_gold_share_a_chart() -> None:
    html = run_charts.main_charts(view_with("objective/scores", "objective/gold", "objective/kl", "eos_rate"))
    first = html.split('<div class="m-chartbox">')[1]
    assert 'aria-label="reward over step: reward ends at 2; gold reward ends at 2"' in first
    assert [title in html for title in ("KL to the reference", "Ended answers", "Loss")] == [True, True, False]


def test_chosen_and_rejected_share_a_chart() -> None:
    html = run_charts.main_charts(view_with("loss", "rewards/chosen", "rewards/rejected", "rewards/margins"))
    boxes = html.split('<div class="m-chartbox">')[1:]
    assert [box.partition("</h3>")[0] for box in boxes] == ["<h3>Loss", "<h3>Implicit rewards", "<h3>Margin"]
    assert boxes[1].count("m-key") == 2


def test_what_no_chart_knows_is_drawn_with_its_eval_side() -> None:
    html = run_charts.more_charts(view_with("clip_ratio/low_mean", "eval_clip_ratio/low_mean", "eval_num_tokens"))
    assert html.count("<h3>") == 1
    assert "<h3>Clip ratio, low mean</h3>" in html
    assert html.count("m-key") == 2


def test_the_headline_names_what_was_measured() -> None:
    view = view_with("objective/scores", "objective/gold", "rewards/margins", "loss")
    assert run_charts.headline(view) == [
        ("Reward", 2.0), ("Gold reward", 2.0), ("Training loss", 2.0), ("Margin", 2.0)
    ]  # fmt: skip


def test_a_row_shows_the_curve_that_the_run_is_about(workspace: Workspace) -> None:
    job = workspace.jobs.store.add(JobSpec("train", "Train x (ppo) on y", {}, "x"), resumed_from=None)
    html = job_rows.job_row(job, view_with("objective/scores", "loss/value"), can_stop=False)
    assert 'aria-label="reward from 1 to 2"' in html
    html = job_rows.job_row(job, view_with("loss", "eval_loss"), can_stop=False)
    assert 'aria-label="loss from 1 to 2"' in html

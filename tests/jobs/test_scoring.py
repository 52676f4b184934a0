"""Scores by name: reward models and functions, on datasets of every kind and on single answers; who is no scorer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub import Registry, Version
from medley.errors import IncompatibleError, NotFoundError, ParameterError, ProblemsError
from medley.events import ignore_event
from medley.jobs import merge_preflight, plan_panes, train_recipe_spec, train_spec
from medley.jobs.job import Job
from medley.jobs.run_train import run
from medley.jobs.scorers import ModelScorer, ScorerPool, open_scorer
from medley.jobs.scoring import score_dataset, score_text, write_scores
from medley.jobs.work import JobWork
from tests.tiny_model import TINY_BASE_ID

CPU = {"device": "cpu"}
PublishRows = Callable[..., Version]


def say(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


@pytest.fixture
def publish_rows(registry: Registry, tmp_path: Path) -> PublishRows:
    """publish_rows(name, kind, eval_rows, train_rows=[]) is a dataset version of these rows."""

    def publish(name: str, kind: str, rows: list[dict[str, Any]], train: list[dict[str, Any]] | None = None) -> Version:
        folder = tmp_path / name
        folder.mkdir()
        for split, part in (("eval", rows), ("train", train or [])):
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
        return registry.publish("dataset", name, folder, metadata={"kind": kind})

    return publish


@pytest.fixture
def pairs(publish_rows: PublishRows) -> Version:
    """Four pairs whose chosen answer is the nicer one, three times the shorter one."""
    answers = [
        ("Good.", "Bad, and that is all there is to it."),
        ("Great!", "Terrible, truly terrible."),
        ("Lovely.", "What an awful thing to ask."),
        ("I am happy to help you with that.", "No."),
    ]
    rows = [
        {"prompt": say("user", f"Well {n}?"), "chosen": say("assistant", a), "rejected": say("assistant", b)}
        for n, (a, b) in enumerate(answers)
    ]
    return publish_rows("pairs", "preference", rows, train=rows)


@pytest.fixture
def judge(registry: Registry, base: Version, make_reward: Callable[..., Path]) -> Version:
    """A random reward model of the tiny base, as a training registers it."""
    metadata = {"trainer": "reward", "adapter_kind": "reward"}
    return registry.publish("adapter", "judge", make_reward("judge", seed=4), base=TINY_BASE_ID, metadata=metadata)


def test_pairs_are_scored_on_both_sides_and_judged(registry: Registry, pairs: Version) -> None:
    found = score_dataset(open_scorer(registry, "sentiment"), pairs)
    assert (found.scorer, found.data, found.split, found.kind) == ("sentiment", "pairs:v1", "eval", "preference")
    assert found.report is not None
    assert (found.report.accuracy, found.report.shorter_wins) == (1.0, 0.75)
    assert found.summary["accuracy"] == 1.0
    assert found.summary["longer_wins"] == 0.25
    first = found.rows[0]
    assert first["margin"] == first["chosen_score"] - first["rejected_score"] > 0
    assert first["prompt"] == say("user", "Well 0?")


def test_brevity_is_the_length_rule_and_beats_nothing(registry: Registry, pairs: Version) -> None:
    report = score_dataset(open_scorer(registry, "brevity"), pairs).report
    assert report is not None
    assert (report.accuracy, report.gain, report.against_accuracy) == (0.75, 0.0, 0.0)
    assert not report.beats_baseline


def test_a_reward_model_scores_what_training_would_see(registry: Registry, judge: Version, pairs: Version) -> None:
    from medley.corpus import read_rows
    from medley.corpus.tokens import encode

    scorer = open_scorer(registry, "judge", **CPU)
    assert isinstance(scorer, ModelScorer)
    found = score_dataset(scorer, pairs)
    rows = read_rows(pairs.path, "eval")
    ids = [encode(row, scorer.model.base.tokenizer, max_length=None, answer="rejected").input_ids for row in rows]
    assert [row["rejected_score"] for row in found.rows] == pytest.approx(scorer.model.score(ids), abs=1e-2)
    assert len({round(row["rejected_score"], 3) for row in found.rows}) == 4
    assert score_text(registry, "judge", "Well 0?", ["Good.", "Bad, and that is all there is to it."], **CPU) == (
        pytest.approx([found.rows[0]["chosen_score"], found.rows[0]["rejected_score"]], abs=1e-2)  # bf16, other batches
    )


def test_answers_longer_than_the_base_reads_are_left_out_and_counted(
    registry: Registry, judge: Version, publish_rows: PublishRows
) -> None:
    rows = [{"prompt": say("user", "Q"), "completion": say("assistant", "word " * n)} for n in (2, 600)]
    scorer = open_scorer(registry, "judge", **CPU)
    found = score_dataset(scorer, publish_rows("long", "sft", rows))
    assert (len(found.rows), found.left_out, found.summary["rows"]) == (1, 1, 1.0)
    with pytest.raises(ParameterError) as caught:
        score_text(registry, "judge", "Q", ["word " * 600], scorer=scorer)
    assert str(caught.value) == "Prompt and answer are longer than the base can read. Shorten them."


def test_rows_with_one_answer_get_one_score(registry: Registry, publish_rows: PublishRows) -> None:
    rows = [
        {"prompt": say("user", "Q"), "completion": say("assistant", "a " * n), "label": n < 20} for n in (0, 10, 20, 30)
    ]
    labelled = score_dataset(open_scorer(registry, "brevity"), publish_rows("labelled", "unpaired", rows))
    assert [row["score"] for row in labelled.rows] == pytest.approx([1.0, 0.8, 0.6, 0.4])
    assert labelled.summary == pytest.approx(
        {"rows": 4, "mean": 0.7, "deviation": 0.05**0.5, "lowest": 0.4, "highest": 1.0, "separation": 1.0}
    )
    plain = [{name: row[name] for name in ("prompt", "completion")} for row in rows]
    unlabelled = score_dataset(open_scorer(registry, "length"), publish_rows("plain", "sft", plain), limit=2)
    assert (unlabelled.kind, [row["score"] for row in unlabelled.rows]) == ("sft", pytest.approx([0.0, 0.2]))
    assert "separation" not in unlabelled.summary


def test_what_has_no_answers_is_told(registry: Registry, publish_rows: PublishRows) -> None:
    scorer = open_scorer(registry, "brevity")
    prompts = publish_rows("prompts", "prompts", [{"prompt": say("user", "Q")}])
    for split, message in (
        ("eval", "prompts:v1 has prompts only, and no answers to score."),
        ("train", "The train split of prompts:v1 has no rows. Try --split eval."),
    ):
        with pytest.raises(ParameterError) as caught:
            score_dataset(scorer, prompts, split=split)
        assert str(caught.value) == message
    with pytest.raises(ParameterError, match=r"^There is an empty answer\. Write something to score\.$"):
        score_text(registry, "brevity", "Q", ["fine", " "])


def test_scores_are_kept_beside_their_rows(registry: Registry, pairs: Version, tmp_path: Path) -> None:
    found = score_dataset(open_scorer(registry, "sentiment"), pairs)
    write_scores(found.rows, tmp_path / "scores.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert lines == found.rows
    with pytest.raises(ParameterError, match=r"^The scores are written as \.jsonl, got scores\.csv\.$"):
        write_scores(found.rows, tmp_path / "scores.csv")
    with pytest.raises(NotFoundError, match="There is no folder"):
        write_scores(found.rows, tmp_path / "absent" / "scores.jsonl")


def test_a_pool_keeps_one_scorer(registry: Registry, judge: Version) -> None:
    pool = ScorerPool(**CPU)
    first = pool.get(registry, "judge")
    assert pool.get(registry, "judge:v1") is first  # the same content by another name
    assert pool.get(registry, "brevity") is not first
    assert pool.get(registry, "judge") is not first


def test_an_adapter_that_writes_is_no_scorer(registry: Registry, adapters: tuple[Version, Version]) -> None:
    with pytest.raises(ParameterError) as caught:
        open_scorer(registry, "left")
    assert str(caught.value) == (
        "'left' writes answers and cannot score any. Train a reward model with: medley train reward"
    )


def test_a_reward_model_cannot_be_asked_merged_or_gone_on_from(
    registry: Registry, judge: Version, adapters: tuple[Version, Version], sums: Version
) -> None:
    with pytest.raises(IncompatibleError) as asked:
        plan_panes(registry, ["left", "judge=0.5"])
    assert str(asked.value) == (
        "'judge' is a reward model: it scores answers and cannot be asked. Use it with: medley score judge"
    )
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in ("left", "judge")]
    problems = merge_preflight(registry, {"merge_method": "linear", "models": models}).problems
    assert "'judge:v1' is a reward model: its score head cannot be merged. Use it with: medley score" in problems
    with pytest.raises(ProblemsError) as trained:
        train_spec(registry, "sft", data="sums", name="more", init="judge")
    assert str(trained.value) == (
        "'judge:v1' is a reward model: it scores answers and cannot be trained on by sft. "
        "Use it with: medley score judge:v1"
    )


def test_a_training_registers_a_reward_model_that_scores(
    registry: Registry, base: Version, adapters: tuple[Version, Version], pairs: Version, tmp_path: Path
) -> None:
    """The work of a job, done in this very process."""
    options = {"max_steps": 2, **CPU}
    spec = train_spec(registry, "reward", data="pairs", name="critic", init="left", options=options)
    job = Job("train-1", "train", spec.title, spec.lane, "running", 0.0, tmp_path / "job", output_name="critic")
    run(JobWork(job, spec, registry, ignore_event, lambda: False))
    critic = registry.get("critic")
    facts = critic.metadata
    assert (facts["adapter_kind"], facts["trainer"], facts["rank"]) == (
        "reward",
        "reward",
        4,
    )  # left's own rank, in its recipe too
    assert facts["metrics"]["eval_pairs"] == 4
    assert {role: parent.label for role, parent in registry.parents(critic.id) if parent} == {
        "base": "tiny:v1",
        "data": "pairs:v1",
        "init": "left:v1",
    }
    assert train_recipe_spec(registry, yaml.safe_load(str(critic.recipe))) == spec
    found = score_dataset(open_scorer(registry, "critic", **CPU), pairs)
    assert found.report is not None
    assert found.report.margin == pytest.approx(facts["metrics"]["eval_margin"], abs=1e-3)


def test_a_reward_model_goes_on_from_both_kinds(
    registry: Registry, judge: Version, adapters: tuple[Version, Version], pairs: Version
) -> None:
    for start in ("judge", "left"):
        spec = train_spec(registry, "reward", data="pairs", name="better", init=start)
        assert spec.params["labels"]["init"] == f"{start}:v1"

"""Datasets and single answers, scored: `medley score` and the app's box. What scores is in scorers.py."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import NotFoundError, ParameterError, StorageError
from medley.events import Emit, ignore_event
from medley.jobs.scorers import Messages, Scorer, open_scorer

if TYPE_CHECKING:
    from hub import Registry, Version
    from trainers.preference_report import PreferenceReport

Row = Mapping[str, Any]


@dataclass(frozen=True)
class DatasetScores:
    """A split of a dataset, scored.

    Attributes:
        scorer: what scored it.
        data: the dataset's label.
        split: "train" or "eval".
        kind: "preference", "unpaired" or "sft".
        rows: the rows as they are, each with `score`, or with `chosen_score`, `rejected_score` and `margin`.
        left_out: rows that are longer than the base can read.
        summary: numbers over the rows, by name.
        report: for preference data, how well the scores agree with it.
    """

    scorer: str
    data: str
    split: str
    kind: str
    rows: list[dict[str, Any]]
    left_out: int
    summary: dict[str, float]
    report: "PreferenceReport | None" = None


def score_text(
    registry: "Registry",
    name: str,
    prompt: str | Messages,
    answers: Sequence[str],
    *,
    scorer: Scorer | None = None,
    emit: Emit = ignore_event,
    **settings: Any,
) -> list[float]:
    """The score of each answer to one prompt.

    Args:
        name, settings: as in `open_scorer`.
        prompt: a question, or a conversation that ends with one.
        scorer: one that is open already (of a `ScorerPool`), instead of opening `name`.

    Raises:
        ParameterError: no answer, an empty one, or one that is longer than the base can read.
        …: as `open_scorer`.
    """
    if not answers or not all(answer.strip() for answer in answers):
        raise ParameterError("There is an empty answer. Write something to score.")
    scorer = scorer or open_scorer(registry, name, emit=emit, **settings)
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    scores = scorer.score([(messages, [{"role": "assistant", "content": answer}]) for answer in answers], emit)
    if any(score is None for score in scores):
        raise ParameterError("Prompt and answer are longer than the base can read. Shorten them.")
    return [float(score) for score in scores if score is not None]


def score_dataset(
    scorer: Scorer, data: "Version", *, split: str = "eval", limit: int | None = None, emit: Emit = ignore_event
) -> DatasetScores:
    """The rows of a split with their scores, and what they say together.

    Args:
        data: a dataset version of any kind that has answers.
        limit: score the first so many rows only.

    Raises:
        ParameterError: the split is empty, or its rows have no answers.
    """
    from medley.corpus import read_rows

    rows = read_rows(data.path, split)[:limit]
    kind = _kind(rows, data, split)
    if kind == "preference":
        scored, report = _score_pairs(scorer, rows, emit)
        summary = report.metrics() if report else {}
        return DatasetScores(scorer.label, data.label, split, kind, scored, len(rows) - len(scored), summary, report)
    scores = scorer.score([(row["prompt"], row["completion"]) for row in rows], emit)
    scored = [{**row, "score": score} for row, score in zip(rows, scores, strict=True) if score is not None]
    left_out = len(rows) - len(scored)
    return DatasetScores(scorer.label, data.label, split, kind, scored, left_out, _summary(scored, kind))


def _kind(rows: Sequence[Row], data: "Version", split: str) -> str:
    if not rows:
        other = "train" if split == "eval" else "eval"
        raise ParameterError(f"The {split} split of {data.label} has no rows. Try --split {other}.")
    if "chosen" in rows[0]:
        return "preference"
    if "completion" not in rows[0]:
        raise ParameterError(f"{data.label} has prompts only, and no answers to score.")
    return "unpaired" if "label" in rows[0] else "sft"


def _score_pairs(
    scorer: Scorer, rows: Sequence[Row], emit: Emit
) -> tuple[list[dict[str, Any]], "PreferenceReport | None"]:
    from trainers.preference_report import ScoredPair, report_pairs
    from trainers.reward_rows import answer_length

    answers = [(row["prompt"], row[side]) for row in rows for side in ("chosen", "rejected")]
    scores = scorer.score(answers, emit)
    scored, pairs = [], []
    for row, chosen, rejected in zip(rows, scores[::2], scores[1::2], strict=True):
        if chosen is None or rejected is None:
            continue
        pair = ScoredPair(chosen, rejected, answer_length(row["chosen"]), answer_length(row["rejected"]))
        pairs.append(pair)
        scored.append({**row, "chosen_score": chosen, "rejected_score": rejected, "margin": pair.margin})
    return scored, report_pairs(pairs) if pairs else None


def _summary(rows: Sequence[Row], kind: str) -> dict[str, float]:
    from trainers.preference_report import separation

    scores = [row["score"] for row in rows]
    if not scores:
        return {}
    mean = sum(scores) / len(scores)
    summary = {
        "rows": float(len(scores)),
        "mean": mean,
        "deviation": math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores)),
        "lowest": min(scores),
        "highest": max(scores),
    }
    if kind == "unpaired":
        labels = [bool(row["label"]) for row in rows]
        found = separation(scores, labels)
        summary |= {} if found is None else {"separation": found}
    return summary


def write_scores(rows: Sequence[Row], path: Path) -> None:
    """Keep the rows with their scores as .jsonl.

    Raises:
        ParameterError, NotFoundError: as `check_scores_path`.
        StorageError: it cannot be written.
    """
    check_scores_path(path)
    try:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The scores could not be written to {path}: {error.strerror or error}.") from error


def check_scores_path(path: Path) -> None:
    """Nothing, if scores can be kept there; asked before the first one is made.

    Raises:
        ParameterError: a suffix that stands for no format.
        NotFoundError: its folder is not there.
    """
    if path.suffix != ".jsonl":
        raise ParameterError(f"The scores are written as .jsonl, got {path.name}.")
    if not path.absolute().parent.is_dir():
        raise NotFoundError(f"There is no folder {path.absolute().parent}. Make it first.")

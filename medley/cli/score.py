"""`medley score`: a reward model's numbers, or a reward function's, for a dataset or for an answer."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medley.cli.output import count_of, harmless, json_option, print_facts, print_json, print_table
from medley.cli.progress import progress_bar

if TYPE_CHECKING:
    from medley.jobs.scoring import DatasetScores

SHOWN_ROWS = 20
SHOWN_CHARACTERS = 70


@click.command()
@click.argument("name")
@click.option("--data", help="Dataset in the registry whose answers are scored.")
@click.option("--split", default="eval", type=click.Choice(["train", "eval"]), help="Which rows. Default eval.")
@click.option("--limit", type=click.IntRange(min=1), help="Score the first so many rows only.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the rows with their scores as .jsonl.")
@click.option("--prompt", help="Score an answer to this instead of a dataset.")
@click.option("--answer", "answers", multiple=True, help="The answer to score; may be given several times.")
@click.option("--base", help="Base model, for a reward model that does not say its own.")
@click.option("--quant", type=click.Choice(["none", "4bit"]), help="Load the base in 4-bit NF4.")
@click.option("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]), help="Where to run. Default auto.")
@json_option
def score(
    name: str,
    data: str | None,
    split: str,
    limit: int | None,
    out: Path | None,
    prompt: str | None,
    answers: tuple[str, ...],
    base: str | None,
    quant: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Score answers with a reward model, or with a reward function such as sentiment or matches:^Yes."""
    from hub import open_registry
    from medley.jobs.scorers import open_scorer
    from medley.jobs.scoring import check_scores_path, score_dataset, score_text

    if (data is None) == (prompt is None) or (prompt is None) == bool(answers) or (out and data is None):
        raise click.UsageError("Give either --data (and --out, if you like), or --prompt with one --answer or more.")
    if out is not None:
        check_scores_path(out)
    registry = open_registry()
    version = registry.get(data, kind="dataset") if data is not None else None
    with progress_bar("Scoring") as emit:
        scorer = open_scorer(registry, name, base=base, quant=quant, device=device, emit=emit)
        if version is None:
            scores = score_text(registry, name, str(prompt), answers, scorer=scorer, emit=emit)
        else:
            found = score_dataset(scorer, version, split=split, limit=limit, emit=emit)
    if version is None:
        print_answers(scorer.label, str(prompt), answers, scores, as_json=as_json)
    else:
        keep_and_print(found, out, as_json=as_json)


def keep_and_print(found: "DatasetScores", out: Path | None, *, as_json: bool) -> None:
    """Write the scored rows where the user wants them, and print what came out."""
    from medley.jobs.scoring import write_scores

    if out is not None:
        write_scores(found.rows, out)
    print_scores(found, as_json=as_json)
    if out is not None and not as_json:
        click.echo(f"\nWrote {out}.")


def print_answers(scorer: str, prompt: str, answers: tuple[str, ...], scores: list[float], *, as_json: bool) -> None:
    """Each answer with its score, in the order they were given."""
    if as_json:
        rows = [{"answer": answer, "score": each} for answer, each in zip(answers, scores, strict=True)]
        print_json({"scorer": scorer, "prompt": prompt, "answers": rows})
        return
    print_table(["score", "answer"], [(f"{each:.4f}", short(text)) for text, each in zip(answers, scores, strict=True)])


def print_scores(found: "DatasetScores", *, as_json: bool) -> None:
    """What the scores say together; for data that are no pairs, the first rows as well."""
    if as_json:
        names = ("score", "chosen_score", "rejected_score", "margin", "label")
        rows = [{name: row[name] for name in names if name in row} for row in found.rows]
        print_json(
            {
                "scorer": found.scorer,
                "data": found.data,
                "split": found.split,
                "kind": found.kind,
                "left_out": found.left_out,
                "summary": found.summary,
                "scores": rows,
            }
        )
        return
    left_out = f"{count_of(found.left_out, 'row')} longer than the base can read" if found.left_out else None
    facts = {"scorer": found.scorer, "data": f"{found.data} ({found.split}, {found.kind})", "left out": left_out}
    print_facts(facts)
    click.echo()
    if found.report is not None:
        print_pairs(found)
        return
    print_table(["measure", "value"], [(name, f"{value:.4g}") for name, value in found.summary.items()])
    click.echo()
    shown = [(f"{row['score']:.4f}", short(row["completion"][-1]["content"])) for row in found.rows[:SHOWN_ROWS]]
    print_table(["score", "answer"], shown)
    if len(found.rows) > SHOWN_ROWS:
        click.echo(f"… and {len(found.rows) - SHOWN_ROWS} more; --out keeps them all.")


def print_pairs(found: "DatasetScores") -> None:
    """Agreement with the preferences, beside the length rules, and by difference of length."""
    report = found.report
    low, high = report.accuracy_interval
    rows = [
        ("accuracy", f"{report.accuracy:.1%} ({low:.1%} to {high:.1%} at 95 %)"),
        ("longer wins", f"{report.longer_wins:.1%}"),
        ("shorter wins", f"{report.shorter_wins:.1%}"),
        ("mean margin", f"{report.margin:.4f}"),
        ("calibration error", f"{report.ece:.4f}"),
    ]
    if report.against_accuracy is not None:
        rows.append((f"where '{report.baseline}' is wrong", f"{report.against_accuracy:.1%} of {report.against_pairs}"))
    rows += [
        (f"chosen is {name.replace('_', ' ')}", f"{accuracy:.1%} of {pairs}")
        for name, (pairs, accuracy) in report.buckets.items()
    ]
    print_table(["measure", "value"], rows)
    click.echo(f"\n{report.verdict(found.split)}")


def short(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(harmless(text).split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"

"""A dataset as a base will see it: the very tokens of a row, how long rows are, what repeats, the silent mistakes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.corpus import ImportReport, dataset_statistics, read_report, read_rows
from medley.ui import charts, markup
from medley.ui.numbers import count_text, plural
from medley.ui.workspace import Workspace, shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from medley.corpus.token_report import TokenReport

MAX_COUNTED = 5000  # rows tokenised for the statistics; of more they are taken evenly
MAX_CHECKED = 1000  # rows looked at for the twelve mistakes
LEGEND = (
    '<span class="m-legend"><span class="m-trained">trained</span> <span class="m-special">special'
    '</span> <span class="m-trained m-end">end of the answer</span></span>'
)


def tokenizer_of(workspace: Workspace, base: str) -> "PreTrainedTokenizerBase":
    """A base's tokenizer; the bundled base is unpacked at first need."""
    from medley.jobs import base_folder
    from medley.lm.load import load_tokenizer

    return load_tokenizer(base_folder(workspace.registry, workspace.base(base)))


def tokens_html(workspace: Workspace, reference: str, base: str, number: float | None, length: float | None) -> str:
    """The very tokens of one row, the trained ones coloured, the end of the turn framed; of a pair both sides."""

    def draw() -> str:
        from medley.corpus.tokens import answers_of, preview

        rows = read_rows(workspace.version(reference, "dataset").path, "train")
        row = rows[min(max(1, int(number or 1)), len(rows)) - 1]
        tokenizer, limit = tokenizer_of(workspace, base), int(length or 1024)
        parts = {part: preview(row, tokenizer, max_length=limit, answer=part) for part in answers_of(row)}
        sides = "".join(_side(row, part, tokens) for part, tokens in parts.items())
        return f'<p class="m-gap">{LEGEND}</p><div class="m-sides">{sides}</div>'

    return shown(draw)


def _side(row: Mapping[str, Any], part: str | None, tokens: Sequence[Any]) -> str:
    """One sequence of tokens below the word for what it is to the model."""
    mark = ""
    if part in ("chosen", "rejected"):
        mark = markup.chip(part, "good" if part == "chosen" else "bad")
    elif "label" in row:
        mark = markup.chip("good answer", "good") if row["label"] else markup.chip("bad answer", "bad")
    trained = sum(token.trained for token in tokens)
    told = f"{count_text(trained)} of them trained" if part else "the prompt alone, nothing trained"
    note = f'<p class="m-quiet m-gap">{mark} {plural(len(tokens), "token")}, {told}</p>'
    return f'<div>{note}<div class="m-tokens" tabindex="0">{"".join(map(_token, tokens))}</div></div>'


def _token(token: Any) -> str:
    names = {"m-trained": token.trained, "m-special": token.is_special, "m-end": token.trained and token.is_special}
    css = " ".join(name for name, holds in names.items() if holds)
    text = markup.escape(token.text).replace("\n", "↵\n")
    return f'<span class="{css}" title="token {token.id}">{text}</span>'


def statistics_html(workspace: Workspace, reference: str, base: str, length: float | None) -> str:
    """How long the rows are in a base's tokens, what that means for training, and what repeats."""

    def draw() -> str:
        from medley.corpus.tokens import token_reports

        folder = workspace.version(reference, "dataset").path
        rows = read_rows(folder, "train")
        step = max(1, len(rows) // MAX_COUNTED)
        reports = token_reports(rows[::step], tokenizer_of(workspace, base), max_length=int(length or 1024))
        sampled = f'<p class="m-quiet m-gap">Every {step}th row was counted.</p>' if step > 1 else ""
        lengths = "".join(_lengths(part, each, len(reports)) for part, each in reports.items())
        return sampled + lengths + splits_table(folder) + repetitions_html(read_report(folder))

    return shown(draw)


def _lengths(part: str, report: "TokenReport", parts: int) -> str:
    limit = report.max_length or 0
    edges = [low for low, _, _ in report.length_histogram] + [report.length_histogram[-1][1]]
    counts = [count for _, _, count in report.length_histogram]
    marks = [charts.Mark(limit, f"longest row {limit}")] if limit <= edges[-1] else []
    pairs = [(f"{percent} % of the rows", f"at most {count_text(tokens)} tokens")
             for percent, tokens in report.length_percentiles.items() if percent]  # fmt: skip
    pairs.append(("Cut off", f"{report.truncated_share:.1%} of the rows"))
    if part != "prompt":
        pairs.append(("End with an end-of-turn token", f"{report.eos_share:.1%} of the rows"))
        pairs.append(("Tokens trained", f"{count_text(report.trained_tokens)} of {count_text(report.tokens)}"))
    title = f'<h3 class="m-sub">With the {part} answer</h3>' if parts > 1 else ""
    warnings = "".join(markup.notice("warn", text) for text in report.warnings())
    return title + warnings + charts.bars(counts, edges, x_name="tokens", marks=marks) + markup.facts(pairs)


def splits_table(folder: Path) -> str:
    """How many rows, prompts and repetitions each split has, and how long its answers are."""
    rows = [
        (
            split,
            count_text(each.rows),
            count_text(each.turns),
            count_text(each.prompts),
            count_text(each.repeated_prompts),
            count_text(each.repeated_answers),
            count_text(each.answer_percentiles.get(50, 0)),
        )
        for split, each in dataset_statistics(folder).items()
    ]
    heads = ("Split", "Rows", "Turns", "Prompts", "Repeated prompt", "Repeated answer", "Median answer, characters")
    return markup.table(heads, rows, numeric=range(1, len(heads)))


def repetitions_html(report: ImportReport) -> str:
    """Near duplicates within the dataset and across its split, with examples."""
    title = '<h3 class="m-sub">What repeats</h3>'
    figures = report.duplicates
    if not figures:
        return f'{title}<p class="m-quiet">Not counted: this dataset was imported by an older Medley.</p>'
    overlap = figures["eval_overlap"]
    held_out = f"of {count_text(figures['eval_rows'])} eval rows"
    rows = [
        (f"nearly repeats an earlier row, of {count_text(figures['compared'])} compared", count_text(figures["near"]),
         "".join(map(_near, figures["near_examples"]))),
        (f"prompt nearly in train, {held_out}", count_text(figures["eval_near_train"]),
         "".join(map(_near, figures["eval_near_examples"]))),
        (f"shares 13 words in a row with train, {held_out}", count_text(overlap["found"]),
         "".join(_run(each) for each in overlap["examples"])),
    ]  # fmt: skip
    return title + markup.table(["What", "Rows", "For example"], rows, numeric=(1,))


def _near(pair: Mapping[str, Any]) -> str:
    where = f"{' and '.join(pair['rows'])}, similarity {pair['similarity']:.2f}"
    texts = "".join(f'<div class="m-quiet">{markup.escape(text)}</div>' for text in pair["texts"])
    return f"<div>{markup.escape(where)}</div>{texts}"


def _run(each: Mapping[str, Any]) -> str:
    where = f"eval {each['item']} and train {each['row']}: "
    return f'<div class="m-quiet">{markup.escape(where + str(each["text"]))}</div>'


def checks_html(workspace: Workspace, reference: str, base: str, length: float | None) -> str:
    """The twelve silent mistakes: what was found of each in this dataset with this base, and the rule."""

    def draw() -> str:
        from medley.corpus.checks import check_dataset

        folder = workspace.version(reference, "dataset").path
        rows = read_rows(folder, "train")
        step = max(1, -(-len(rows) // MAX_CHECKED))
        limit = int(length or 1024)
        found = check_dataset(read_report(folder), rows[::step], tokenizer_of(workspace, base), max_length=limit)
        cells = [
            (
                str(each.mistake.number),
                f'{markup.escape(each.mistake.name)}<div class="m-quiet">{markup.escape(each.mistake.harm)}</div>',
                markup.chip(each.state),
                f'{markup.escape(each.text)}<div class="m-quiet">{markup.escape(each.mistake.rule)}</div>',
            )
            for each in found
        ]
        which = f"Every {step}th row" if step > 1 else "Every row"
        note = f"{which} with {base}, at most {limit} tokens; choose others under What the model will see."
        return f'<p class="m-quiet m-gap">{markup.escape(note)}</p>' + markup.table(
            ["", "Mistake", "State", "Found, and the rule"], cells
        )

    return shown(draw)

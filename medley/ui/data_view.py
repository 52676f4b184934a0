"""One dataset: what the import did and its rows; its tokens, lengths and checks are in `medley.ui.data_tokens`."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from medley.corpus import ImportReport, read_report, read_rows
from medley.corpus.formats import KINDS
from medley.ui import data_overlap, markup
from medley.ui.data_tokens import checks_html, statistics_html, tokens_html
from medley.ui.numbers import count_text, plural
from medley.ui.train_form import base_choices
from medley.ui.workspace import Workspace, attempt, shown

ROWS_SHOWN = 8
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
PROVENANCE_WORDS = {"human": "people", "generated": "a model", "mixed": "people and models"}
LEARNED = ("completion", "chosen")  # the parts of a row that training raises


@dataclass(frozen=True)
class DataPanel:
    """The components of a dataset's page that are filled when it is shown."""

    reference: gr.Textbox
    summary: gr.HTML
    rows: gr.HTML
    base: gr.Dropdown
    suite: gr.Dropdown

    @property
    def outputs(self) -> list[Any]:
        return [self.reference, self.summary, self.rows, self.base, self.suite]


def build(workspace: Workspace) -> DataPanel:
    reference = gr.Textbox(visible=False)
    with gr.Column(elem_classes="m-panel"), gr.Tabs():
        with gr.Tab("Summary"):
            summary = gr.HTML(elem_id="data-summary", min_height=300)
        with gr.Tab("Rows"):
            with gr.Row():
                split = gr.Dropdown(["train", "eval"], value="train", label="Split", scale=1, min_width=120)
                search = gr.Textbox(label="Search", placeholder="words that occur in the row", max_lines=1, scale=3)
                start = gr.Number(1, label="From row", precision=0, minimum=1, step=ROWS_SHOWN, scale=1, min_width=110)
            rows = gr.HTML(elem_id="data-rows", min_height=400)
        with gr.Tab("What the model will see") as seen:
            with gr.Row():
                base = gr.Dropdown([], label="Base model", scale=2)
                number = gr.Number(1, label="Row", precision=0, minimum=1, scale=1, min_width=110)
                length = gr.Number(1024, label="Longest row in tokens", precision=0, minimum=8, scale=1, min_width=150)
            tokens = gr.HTML(elem_id="data-tokens", min_height=320)
        with gr.Tab("Statistics") as counted:
            statistics = gr.HTML(elem_id="data-statistics", min_height=320)
        with gr.Tab("Test suites"):
            suite = data_overlap.build(workspace, reference)
        with gr.Tab("Silent mistakes") as checked:
            checks = gr.HTML(elem_id="data-checks", min_height=320)
    filters = [reference, split, search, start]
    for each in (split, search, start):
        each.change(partial(rows_html, workspace), filters, rows, **QUIET)
    preview = [reference, base, number, length]
    look = {"fn": partial(tokens_html, workspace), "inputs": preview, "outputs": tokens, "api_visibility": "private"}
    seen.select(**look)
    for each in (base, number, length):
        each.input(**look)
    for tab, draw, place in ((counted, statistics_html, statistics), (checked, checks_html, checks)):
        tab.select(partial(draw, workspace), [reference, base, length], place, api_visibility="private")
    return DataPanel(reference, summary, rows, base, suite)


def head(workspace: Workspace, reference: str) -> str:
    """The heading of a dataset's page."""
    version = attempt(lambda: workspace.version(reference, "dataset"))[0]
    back = markup.button_link("data", "All datasets")
    if version is None:
        return markup.page_head("Data", "This dataset is not here.", back)
    known = version.metadata
    text = f"{plural(int(known.get('rows') or 0), 'row')}, {known.get('format')} format, from {known.get('source')}"
    train = markup.button_link("train", "Train on it", {"data": version.name}, is_primary=True)
    record = markup.button_link("registry", "In the registry", {"name": version.label})
    return markup.page_head(version.label, text, train + record + back)


def show(workspace: Workspace, reference: str) -> list[Any]:
    """Values for `DataPanel.outputs`."""
    version, problem = attempt(lambda: workspace.version(reference, "dataset"))
    if version is None:
        return ["", problem, "", gr.skip(), gr.skip()]
    bases = base_choices(workspace)
    return [
        version.label,
        shown(lambda: summary_html(read_report(version.path))),
        rows_html(workspace, version.label, "train", "", 1),
        gr.Dropdown(bases, value=bases[0] if bases else None),
        gr.Dropdown(data_overlap.suites(workspace, version.name), value=None),
    ]


def summary_html(report: ImportReport) -> str:
    """What was found, fixed and dropped, with examples."""
    pairs = [
        ("Found", f"{count_text(report.found.get('rows', 0))} records in {report.source}"),
        ("Format", f"{report.format}, teaches by {KINDS.get(report.kind, report.kind)}"),
        (
            "Kept",
            ", ".join(f"{count_text(count)} {split}" for split, count in sorted(report.rows.items(), reverse=True)),
        ),
        (
            "Different prompts",
            ", ".join(f"{count_text(count)} {split}" for split, count in sorted(report.prompts.items(), reverse=True)),
        ),
        ("Licence", report.licence or "not stated"),
        ("Written by", PROVENANCE_WORDS.get(report.provenance or "", "not known")),
    ]
    if report.unused_columns:
        pairs.append(("Columns not used", ", ".join(report.unused_columns)))
    facts = markup.facts([(name, markup.escape(text)) for name, text in pairs])
    notes = "".join(markup.notice("warn", text) for text in report.warnings())
    also = {what: count for what, count in report.found.items() if what != "rows"}
    tables = _counts("Fixed", report.fixed, report) + _counts("Left out", report.dropped, report)
    return facts + notes + (_counts("Also found", also, report) if also else "") + tables


def _counts(title: str, counts: Any, report: ImportReport) -> str:
    if not counts:
        return f'<h3 class="m-sub">{title}</h3><p class="m-quiet">Nothing.</p>'
    rows = []
    for what, count in sorted(counts.items(), key=lambda item: -item[1]):
        examples = "".join(
            f'<div class="m-quiet">row {markup.escape(each.get("row"))}: {markup.escape(each.get("text"))}</div>'
            for each in report.examples.get(what, [])
        )
        rows.append([markup.escape(what), count_text(count), examples])
    return f'<h3 class="m-sub">{title}</h3>' + markup.table(["What", "Rows", "For example"], rows, numeric=(1,))


def rows_html(workspace: Workspace, reference: str, split: str, search: str, start: float | None) -> str:
    """A few rows as conversations; what training raises is marked."""

    def draw() -> str:
        rows = list(enumerate(read_rows(workspace.version(reference, "dataset").path, split), start=1))
        words = (search or "").lower().split()
        found = [(number, row) for number, row in rows if _has_words(row, words)]
        if not found:
            return markup.empty("No such rows", "The split is empty, or no row has all of these words.")
        first = min(max(1, int(start or 1)), len(found))
        page = found[first - 1 : first - 1 + ROWS_SHOWN]
        note = f"{first} to {first + len(page) - 1} of {plural(len(found), 'row')}"
        return f'<p class="m-quiet m-gap">{note}</p>' + "".join(_row(number, row) for number, row in page)

    return shown(draw)


def _has_words(row: dict[str, Any], words: list[str]) -> bool:
    text = (
        " ".join(message["content"] for part in row.values() if isinstance(part, list) for message in part).lower()
        if words
        else ""
    )
    return all(word in text for word in words)


def _row(number: int, row: dict[str, Any]) -> str:
    parts, is_bad = "", row.get("label") is False
    for part, messages in row.items():
        for message in messages if part != "label" else ():
            is_learned = part in LEARNED and message["role"] == "assistant" and not is_bad
            css = "m-turn m-learned" if is_learned else "m-turn"
            role = message["role"] if part in ("prompt", "completion") else f"{message['role']}, {part}"
            parts += f'<div class="{css}"><b>{markup.escape(role)}</b><p>{markup.escape(message["content"])}</p></div>'
    mark = (
        "" if "label" not in row else markup.chip("bad answer", "bad") if is_bad else markup.chip("good answer", "good")
    )
    return f'<div class="m-row"><p class="m-quiet m-gap">row {number} {mark}</p>{parts}</div>'

"""Data: the datasets there are and a new one from a file or the Hub; `?name=` shows one, `?job=` an import."""

from functools import partial
from typing import Any

import gradio as gr

from hub import Version
from medley.corpus import FORMATS
from medley.corpus.formats import KINDS
from medley.corpus.report import PROVENANCE
from medley.ui import data_import, data_mix, data_view, markup
from medley.ui.address import go_when_set
from medley.ui.controls import NO_RESET
from medley.ui.numbers import count_text
from medley.ui.workspace import MAX_LISTED, Workspace, query_value, shown

INTRO = "Examples to learn from: import them, look at them, see what the model will see."
FILE_TYPES = [".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet", ".gz"]
UPLOAD, HUB = "upload", "hub"
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def build(page: gr.Blocks, workspace: Workspace) -> None:
    head = gr.HTML(markup.page_head("Data", INTRO), elem_id="data-head")
    with gr.Column(visible=False) as overview, gr.Row(elem_classes="m-columns"):
        with gr.Column(scale=2):
            listing = gr.HTML(elem_id="data-list")
            with gr.Row(elem_classes="m-actions"):
                examples = gr.Button("Import the shipped examples", visible=False, elem_id="import-examples")
        with gr.Column(scale=1):
            if workspace.is_read_only:
                gr.HTML(markup.notice("plain", "Importing is switched off here: this app is read-only."))
            panel = None if workspace.is_read_only else _build_import(workspace, examples)
    with gr.Column(visible=False) as detail:
        view = data_view.build(workspace)

    def load(request: gr.Request) -> list[Any]:
        name, job_id = query_value(request, "name"), query_value(request, "job")
        watch = [] if panel is None else [job_id, gr.Timer(active=bool(job_id))]
        offer = gr.Button(visible=data_import.has_examples(workspace))
        if name:
            return [data_view.head(workspace, name), gr.Column(visible=False), gr.Column(visible=True), gr.skip(),
                    offer, *watch, *data_view.show(workspace, name)]  # fmt: skip
        return [markup.page_head("Data", INTRO), gr.Column(visible=True), gr.Column(visible=False),
                shown(lambda: datasets_card(workspace)), offer, *watch, *[gr.skip()] * len(view.outputs)]  # fmt: skip

    watched = [] if panel is None else list(panel)
    page.load(load, None, [head, overview, detail, listing, examples, *watched, *view.outputs], **QUIET)


def _build_import(workspace: Workspace, examples: gr.Button) -> tuple[gr.Textbox, gr.Timer]:
    with gr.Column(elem_classes="m-panel"):
        gr.HTML(markup.heading("Import", "JSON, JSON Lines, CSV, TSV, text or Parquet; the format is found by itself."))
        with gr.Tabs():
            with gr.Tab("A file"):
                file = gr.File(label="File", file_types=FILE_TYPES, type="filepath", height=132, elem_id="import-file")
            with gr.Tab("The Hub"):
                hub_id = gr.Textbox(label="Dataset on the Hub", placeholder="org/name", max_lines=1)
                split = gr.Textbox(label="Split", placeholder="the only one, or train", max_lines=1)
        name = gr.Textbox(
            label="Name", info="Small letters, digits, dots and dashes.", placeholder="pirate-talk", max_lines=1
        )
        with gr.Accordion("More settings", open=False):
            format = gr.Dropdown(["auto", *FORMATS], value="auto", label="Format", info="Auto looks at the columns.")
            eval_share = gr.Slider(0, 0.5, value=0.1, step=0.01, label="Share kept for measuring", **NO_RESET,
                                   info="These prompts are never trained on.")  # fmt: skip
            turns = gr.Dropdown([("all of the assistant's", "all"), ("only the last one", "last")], value="all",
                                label="Turns to learn from")  # fmt: skip
            licence = gr.Textbox(label="Licence of the data", placeholder="cc-by-4.0", max_lines=1)
            provenance = gr.Dropdown([("not known", ""), *((each, each) for each in PROVENANCE)], value="",
                                     label="Who wrote the answers")  # fmt: skip
        go = gr.Button("Import", variant="primary", elem_id="import-start")
        progress = gr.HTML(elem_id="import-progress", min_height=56)
    job_id, target = gr.Textbox(visible=False), gr.Textbox(visible=False)
    timer = gr.Timer(0.7, active=False)
    with gr.Column(elem_classes="m-panel"):
        data_mix.build(workspace, job_id, progress, timer)
    inputs = [file, hub_id, split, name, format, eval_share, turns, licence, provenance]
    go.click(partial(data_import.start, workspace), inputs, [job_id, progress, timer], **QUIET)
    examples.click(partial(data_import.start_examples, workspace), None, [job_id, progress, timer, examples], **QUIET)
    polled = timer.tick(partial(data_import.poll, workspace), job_id, [progress, timer, target],
                        concurrency_id="poll", concurrency_limit=8, **QUIET)  # fmt: skip
    polled.then(**go_when_set(target))
    file.upload(data_import.suggest_name, [file, name], name, **QUIET)
    return job_id, timer


def datasets_card(workspace: Workspace) -> str:
    """The datasets, the newest first."""
    listed = workspace.registry.list("dataset", limit=MAX_LISTED)
    if not listed:
        text = "A dataset is a file of examples: questions and the answers you want. Drop one on the right to begin."
        return markup.section("Datasets", markup.empty("No datasets yet", text))
    table = markup.table(["Name", "Teaches by", "Format", "Rows", "Licence", "Made"], [_row(each) for each in listed],
                         numeric=(3,))  # fmt: skip
    return markup.section("Datasets", table)


def _row(version: Version) -> list[str]:
    known = version.metadata
    rows = known.get("rows")
    return [
        f"{markup.link('data', version.name, {'name': version.name})} "
        f'<span class="m-quiet m-mono">v{version.number}</span>',
        markup.escape(KINDS.get(str(known.get("kind")), known.get("kind", "–"))),
        markup.escape(known.get("format") or "–"),
        count_text(rows) if isinstance(rows, (int, float)) else "–",
        markup.escape(known.get("licence") or "not stated"),
        markup.when(version.created),
    ]

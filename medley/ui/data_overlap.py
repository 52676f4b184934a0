"""What a dataset has in common with test suites: one is chosen or uploaded, and every comparison made stays in view."""

from functools import partial
from pathlib import Path

import gradio as gr

from medley.corpus.overlap import Overlap
from medley.errors import ParameterError
from medley.ui import markup
from medley.ui.numbers import count_text
from medley.ui.workspace import Workspace, attempt, shown

INTRO = (
    "A score on a suite says little when the dataset holds its questions. Items are found by runs of 13 words; a text "
    "of 8 to 12 words is compared as a whole."
)
HEADS = ("Suite", "Items found", "Compared", "Items", "Rows with one", "For example")
FILE_TYPES = [".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet", ".gz"]
Compared = tuple[str, Overlap]  # the suite's name, and what it shares with the dataset


def build(workspace: Workspace, reference: gr.Textbox) -> gr.Dropdown:
    """The form and its results; what comes back is the choice of suites, to be filled when a dataset is shown."""
    gr.HTML(f'<p class="m-quiet m-gap">{markup.escape(INTRO)}</p>')
    with gr.Row():
        suite = gr.Dropdown([], label="A dataset here", scale=2, min_width=260)
        file = gr.File(
            label="Or a file of test items", file_types=FILE_TYPES, type="filepath", height=132, scale=2, min_width=260,
            visible=not workspace.is_read_only, elem_id="overlap-file",
        )  # fmt: skip
    go = gr.Button("Compare", variant="primary", elem_id="overlap-start")
    problem, results = gr.HTML(), gr.HTML(table([]), elem_id="data-overlap", min_height=120)
    compared = gr.State([], time_to_live=3600)
    go.click(partial(compare, workspace), [reference, suite, file, compared], [compared, problem, results],
             concurrency_limit=1, api_visibility="private")  # fmt: skip
    reference.change(lambda: ([], "", table([])), None, [compared, problem, results], api_visibility="private")
    return suite


def suites(workspace: Workspace, name: str) -> list[str]:
    """The other datasets, the newest first."""
    return [each for each in workspace.names("dataset") if each != name]


def compare(
    workspace: Workspace, reference: str, suite: str | None, file: str | None, compared: list[Compared]
) -> tuple[list[Compared], str, str]:
    """All comparisons with the new one first, what went wrong if anything did, and the table of them.

    An uploaded file goes before the chosen dataset.
    """

    def run() -> Compared:
        from medley.corpus.contamination import overlap_with

        folder = workspace.version(reference, "dataset").path
        if file:
            workspace.check_writable("Uploading")
            return Path(file).name, overlap_with(folder, Path(file))
        if not suite:
            raise ParameterError("Choose a dataset, or upload a file of test items.")
        version = workspace.version(suite, "dataset")
        return version.label, overlap_with(folder, version.path)

    found, problem = attempt(run)
    if found is not None:
        compared = [found, *(each for each in compared if each[0] != found[0])]
    return compared, problem, shown(lambda: table(compared))


def table(compared: list[Compared]) -> str:
    """One row for each suite."""
    if not compared:
        return markup.empty("Nothing compared yet", "Choose a suite that this dataset's adapters will be measured on.")
    return markup.table(HEADS, [_row(name, overlap) for name, overlap in compared], numeric=(1, 2, 3, 4))


def _row(name: str, overlap: Overlap) -> list[str]:
    said = [f"item {each['item']}, row {each['row']}: {each['text']}" for each in overlap.examples]
    examples = "".join(f'<div class="m-quiet">{markup.escape(text)}</div>' for text in said)
    counts = (overlap.found, overlap.compared, overlap.items, overlap.rows)
    return [markup.escape(name), *map(count_text, counts), examples]
